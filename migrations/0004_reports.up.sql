-- reports: what was sold, per product and currency; lines wait for their order to be confirmed
CREATE TABLE report_line (
    order_id   uuid NOT NULL,
    product_id uuid NOT NULL,
    sku        text NOT NULL,
    name       text NOT NULL,
    currency   text NOT NULL,
    quantity   bigint NOT NULL,
    line_total bigint NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
CREATE TABLE product_sales (
    product_id uuid NOT NULL,
    currency   text NOT NULL,
    sku        text NOT NULL,
    name       text NOT NULL,
    orders     bigint NOT NULL,
    units      bigint NOT NULL,
    revenue    bigint NOT NULL,
    updated_ms bigint NOT NULL,
    PRIMARY KEY (product_id, currency)
);

SELECT bus_group('reports');
GRANT SELECT, INSERT, UPDATE, DELETE ON report_line, product_sales TO dd_reports;
