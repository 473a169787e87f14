-- What the front door may read: views, granted to its role alone; the tables themselves stay closed to it. Money stays
-- in minor units and personal columns stay sealed: the door prints the one and opens the other.

-- identity
CREATE VIEW door_user AS
    SELECT id, email, name, phone, role, is_active, version, created_ms, updated_ms FROM app_user;
CREATE VIEW door_login AS
    SELECT email_index, id, password_hash, role, is_active FROM app_user;
CREATE VIEW door_session AS
    SELECT s.id, s.user_id, s.generation, s.is_revoked, s.updated_ms, u.is_active, u.role
    FROM session s JOIN app_user u ON u.id = s.user_id;
-- What a door must know of the recent past when it starts, and whether the shop has an owner.
CREATE INDEX session_revoked ON session (updated_ms) WHERE is_revoked;
CREATE INDEX app_user_updated ON app_user (updated_ms);
CREATE INDEX app_user_created ON app_user (created_ms, id);
CREATE INDEX app_user_super ON app_user (id) WHERE role = 'super_admin' AND is_active;

-- catalog. Prices of several currencies are compared as the numbers they are printed as: thousandths of a unit (the
-- fourth decimal of the two currencies that have one does not count). Currencies as in bus/base/money.c.
CREATE FUNCTION door_amount(minor bigint, currency text) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN currency IN ('CLP', 'BIF', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'VND', 'VUV', 'XAF',
                          'XOF', 'XPF') THEN minor * 1000
        WHEN currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN minor
        WHEN currency IN ('CLF', 'UYW') THEN minor / 10
        ELSE minor * 10
    END
$$;
CREATE VIEW door_product AS
    SELECT p.id, p.name, p.slug, p.sku, p.price, p.currency, p.compare_price, p.cost_price, p.description,
           p.short_description, p.category, c.name AS category_name, p.brand, b.name AS brand_name, p.images, p.dimensions,
           p.weight_grams, p.rating_hundredths, p.reviews_count, p.is_active, p.is_featured, p.meta_title,
           p.meta_description, p.version, p.created_ms, p.updated_ms, door_amount(p.price, p.currency) AS amount,
           coalesce(s.quantity - s.reserved, 0) AS stock, coalesce(s.version, 0) AS stock_version
    FROM product p
    LEFT JOIN stock s ON s.product_id = p.id
    LEFT JOIN category c ON c.slug = p.category
    LEFT JOIN brand b ON b.slug = p.brand
    WHERE NOT p.is_deleted;
-- Each order of the list has an index that ends in the id, so that a page is a walk along it.
DROP INDEX product_by_price, product_by_category, product_by_brand;
CREATE INDEX product_by_amount ON product (door_amount(price, currency), id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_by_rating ON product (rating_hundredths, id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_by_name ON product (name, id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_category_amount ON product (category, door_amount(price, currency), id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_category_rating ON product (category, rating_hundredths, id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_category_name ON product (category, name, id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_category_newest ON product (category, created_ms, id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_brand_amount ON product (brand, door_amount(price, currency), id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_brand_rating ON product (brand, rating_hundredths, id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_brand_name ON product (brand, name, id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_brand_newest ON product (brand, created_ms, id) WHERE is_active AND NOT is_deleted;
CREATE VIEW door_category AS SELECT slug, name, description, created_ms FROM category;
CREATE VIEW door_brand AS SELECT slug, name, created_ms FROM brand;

-- inventory
CREATE VIEW door_stock AS
    SELECT s.product_id, s.warehouse_id, s.quantity, s.reserved, s.version, s.updated_ms FROM stock s;
CREATE VIEW door_low_stock AS
    SELECT p.id, p.name, p.sku, s.warehouse_id, s.quantity, s.reserved
    FROM stock s JOIN product p ON p.id = s.product_id
    WHERE p.is_active AND NOT p.is_deleted;
CREATE INDEX stock_by_quantity ON stock (quantity, product_id);
CREATE VIEW door_movement AS
    SELECT id, product_id, warehouse_id, movement_type, quantity, balance, order_id, reason, actor, created_ms
    FROM stock_movement;
CREATE INDEX stock_movement_newest ON stock_movement (created_ms, id);
CREATE VIEW door_warehouse AS SELECT id, code, name, is_default FROM warehouse;

-- cart: names and prices are today's; what an order pays is fixed when it is placed
CREATE VIEW door_cart AS
    SELECT l.user_id, l.id, l.product_id, p.name, p.sku, p.price, p.currency, l.quantity, l.created_ms,
           p.is_active AND NOT p.is_deleted AS is_available
    FROM cart_line l JOIN product p ON p.id = l.product_id;

-- orders; the payment token stays inside
CREATE VIEW door_order AS
    SELECT id, order_number, user_id, status, payment_status, reason, payment_method, shipping_address, currency, subtotal,
           discount_amount, shipping_amount, tax_amount, total_amount, version, created_ms, updated_ms
    FROM orders;
CREATE VIEW door_order_line AS
    SELECT order_id, product_id, position, sku, name, unit_price, quantity, line_total FROM order_line;
CREATE VIEW door_order_timeline AS
    SELECT order_id, n, what, detail, at_ms FROM order_timeline;
CREATE INDEX orders_newest ON orders (created_ms, id);

GRANT SELECT ON door_user, door_login, door_session, door_product, door_category, door_brand, door_stock, door_low_stock,
    door_movement, door_warehouse, door_cart, door_order, door_order_line, door_order_timeline TO dd_door;
