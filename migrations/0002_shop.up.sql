-- The shop's tables. Each belongs to the group named above it, whose role alone may write it.
-- Money is bigint minor units, times are bigint milliseconds UTC, personal columns hold sealed text.
-- Rows that change soon after they were made find room on their page (fillfactor): then no index is written again.

-- identity
CREATE TABLE app_user (
    id            uuid PRIMARY KEY,
    email         text NOT NULL,
    email_index   text NOT NULL,
    name          text NOT NULL,
    phone         text,
    password_hash text NOT NULL,
    role          text NOT NULL CHECK (role IN ('customer', 'employee', 'manager', 'admin', 'super_admin')),
    is_active     boolean NOT NULL,
    version       bigint NOT NULL,
    created_ms    bigint NOT NULL,
    updated_ms    bigint NOT NULL,
    CONSTRAINT app_user_email_index_key UNIQUE (email_index)
);
CREATE TABLE session (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES app_user,
    generation bigint NOT NULL,
    is_revoked boolean NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
);
CREATE INDEX session_user_id ON session (user_id);

-- catalog
CREATE TABLE category (
    slug        text PRIMARY KEY,
    name        text NOT NULL,
    description text,
    created_ms  bigint NOT NULL
);
CREATE TABLE brand (
    slug       text PRIMARY KEY,
    name       text NOT NULL,
    created_ms bigint NOT NULL
);
CREATE TABLE product (
    id                uuid PRIMARY KEY,
    name              text NOT NULL,
    slug              text NOT NULL,
    sku               text NOT NULL,
    price             bigint NOT NULL CHECK (price >= 0),
    currency          text NOT NULL,
    compare_price     bigint NOT NULL DEFAULT 0,
    cost_price        bigint NOT NULL DEFAULT 0,
    description       text,
    short_description text,
    category          text,
    brand             text,
    images            text,
    dimensions        text,
    weight_grams      bigint NOT NULL DEFAULT 0,
    rating_hundredths bigint NOT NULL DEFAULT 0,
    reviews_count     bigint NOT NULL DEFAULT 0,
    is_active         boolean NOT NULL,
    is_featured       boolean NOT NULL,
    meta_title        text,
    meta_description  text,
    is_deleted        boolean NOT NULL,
    deleted_ms        bigint NOT NULL DEFAULT 0,
    version           bigint NOT NULL,
    created_ms        bigint NOT NULL,
    updated_ms        bigint NOT NULL
);
-- Unique keys ignore deleted rows, so that a withdrawn product's sku can be used again.
CREATE UNIQUE INDEX product_sku ON product (sku) WHERE NOT is_deleted;
CREATE UNIQUE INDEX product_slug ON product (slug) WHERE NOT is_deleted;
CREATE INDEX product_listed ON product (created_ms, id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_by_price ON product (price, id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_by_category ON product (category, price, id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_by_brand ON product (brand, price, id) WHERE is_active AND NOT is_deleted;

-- inventory
CREATE TABLE warehouse (
    id         uuid PRIMARY KEY,
    code       text NOT NULL UNIQUE,
    name       text NOT NULL,
    is_default boolean NOT NULL
);
INSERT INTO warehouse VALUES ('00000000-0000-7000-8000-000000000001', 'MAIN', 'Bodega principal', true);
CREATE TABLE stock (
    product_id   uuid PRIMARY KEY,
    warehouse_id uuid NOT NULL REFERENCES warehouse,
    quantity     bigint NOT NULL CHECK (quantity >= 0),
    reserved     bigint NOT NULL CHECK (reserved >= 0),
    version      bigint NOT NULL,
    updated_ms   bigint NOT NULL,
    CHECK (reserved <= quantity)
) WITH (fillfactor = 60);
-- The ledger: quantity of a product is the sum of its movements, always.
CREATE TABLE stock_movement (
    id            uuid PRIMARY KEY,
    product_id    uuid NOT NULL,
    warehouse_id  uuid NOT NULL REFERENCES warehouse,
    movement_type text NOT NULL,
    quantity      bigint NOT NULL,
    balance       bigint NOT NULL,
    order_id      uuid,
    reason        text,
    actor         text,
    created_ms    bigint NOT NULL
);
CREATE INDEX stock_movement_product ON stock_movement (product_id, created_ms);
CREATE TABLE stock_hold (
    order_id   uuid NOT NULL,
    product_id uuid NOT NULL,
    quantity   bigint NOT NULL CHECK (quantity > 0),
    state      text NOT NULL CHECK (state IN ('held', 'committed', 'released', 'refused')),
    lines      text NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL,
    PRIMARY KEY (order_id, product_id)
) WITH (fillfactor = 60);
CREATE INDEX stock_hold_open ON stock_hold (product_id) WHERE state = 'held';

-- cart
CREATE TABLE cart_product (
    product_id uuid PRIMARY KEY,
    is_active  boolean NOT NULL
);
CREATE TABLE cart_line (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL,
    product_id uuid NOT NULL,
    quantity   bigint NOT NULL CHECK (quantity > 0),
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL,
    CONSTRAINT cart_line_product UNIQUE (user_id, product_id)
) WITH (fillfactor = 60);

-- orders
CREATE TABLE order_product (
    product_id uuid PRIMARY KEY,
    name       text NOT NULL,
    sku        text NOT NULL,
    price      bigint NOT NULL,
    currency   text NOT NULL,
    is_active  boolean NOT NULL,
    version    bigint NOT NULL
);
CREATE TABLE orders (
    id               uuid PRIMARY KEY,
    order_number     text NOT NULL UNIQUE,
    user_id          uuid NOT NULL,
    status           text NOT NULL CHECK (status IN
                     ('pending', 'confirmed', 'processing', 'shipped', 'delivered', 'completed', 'cancelled')),
    payment_status   text NOT NULL CHECK (payment_status IN ('pending', 'authorised', 'paid', 'failed', 'voided', 'refunded')),
    step             text NOT NULL CHECK (step IN ('holding', 'authorising', 'committing', 'capturing', 'undoing', 'done')),
    reason           text,
    payment_method   text NOT NULL,
    payment_token    text,
    shipping_address text NOT NULL,
    currency         text NOT NULL,
    subtotal         bigint NOT NULL,
    discount_amount  bigint NOT NULL,
    shipping_amount  bigint NOT NULL,
    tax_amount       bigint NOT NULL,
    total_amount     bigint NOT NULL CHECK (total_amount = subtotal - discount_amount + shipping_amount),
    from_cart        boolean NOT NULL,
    void_asked       boolean NOT NULL,
    void_done        boolean NOT NULL,
    cancel_command   uuid,
    version          bigint NOT NULL,
    created_ms       bigint NOT NULL,
    updated_ms       bigint NOT NULL
) WITH (fillfactor = 60);
CREATE INDEX orders_of_user ON orders (user_id, created_ms DESC, id);
CREATE TABLE order_line (
    order_id        uuid NOT NULL,
    product_id      uuid NOT NULL,
    position        bigint NOT NULL,
    sku             text NOT NULL,
    name            text NOT NULL,
    unit_price      bigint NOT NULL,
    quantity        bigint NOT NULL CHECK (quantity > 0),
    line_total      bigint NOT NULL CHECK (line_total = unit_price * quantity),
    product_version bigint NOT NULL,
    stock           text NOT NULL CHECK (stock IN ('asked', 'held', 'refused', 'taking', 'taken', 'releasing', 'released')),
    PRIMARY KEY (order_id, product_id)
) WITH (fillfactor = 60);
CREATE TABLE order_timeline (
    order_id uuid NOT NULL,
    n        bigint NOT NULL,
    what     text NOT NULL,
    detail   text,
    at_ms    bigint NOT NULL,
    PRIMARY KEY (order_id, n)
);

-- payments
CREATE TABLE payment (
    order_id   uuid PRIMARY KEY,
    user_id    uuid NOT NULL,
    method     text NOT NULL,
    amount     bigint NOT NULL CHECK (amount >= 0),
    currency   text NOT NULL,
    token      text,
    status     text NOT NULL CHECK (status IN ('asked', 'authorised', 'declined', 'capturing', 'captured', 'capture-failed',
                                               'voiding', 'voided')),
    reference  text,
    reason     text,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
) WITH (fillfactor = 60);

-- producers: the durable side of the payment method `test`, what a real provider would keep on its own machines
CREATE TABLE payment_test_call (
    idempotency_key text PRIMARY KEY,
    operation       text NOT NULL,
    reference       text NOT NULL,
    outcome         text NOT NULL,
    created_ms      bigint NOT NULL
);
CREATE TABLE payment_test_charge (
    reference  text PRIMARY KEY,
    amount     bigint NOT NULL,
    currency   text NOT NULL,
    state      text NOT NULL CHECK (state IN ('authorised', 'captured', 'voided', 'declined')),
    updated_ms bigint NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON app_user, session, person_key TO dd_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON category, brand, product TO dd_catalog;
GRANT SELECT, INSERT, UPDATE, DELETE ON warehouse, stock, stock_movement, stock_hold TO dd_inventory;
GRANT SELECT, INSERT, UPDATE, DELETE ON cart_product, cart_line TO dd_cart;
GRANT SELECT, INSERT, UPDATE, DELETE ON order_product, orders, order_line, order_timeline TO dd_orders;
GRANT SELECT, INSERT, UPDATE, DELETE ON payment TO dd_payments;
GRANT SELECT ON person_key TO dd_producers;
GRANT SELECT, INSERT, UPDATE, DELETE ON payment_test_call, payment_test_charge TO dd_producers;
