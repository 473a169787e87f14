DROP VIEW door_sales;
CREATE TEMPORARY TABLE whole ON COMMIT DROP AS
    SELECT product_id, currency, max(sku) AS sku, max(name) AS name, sum(orders)::bigint AS orders,
        sum(units)::bigint AS units, sum(revenue)::bigint AS revenue, max(updated_ms) AS updated_ms
    FROM product_sales GROUP BY product_id, currency;
DELETE FROM product_sales;
ALTER TABLE product_sales DROP COLUMN part; -- and the key with it
ALTER TABLE product_sales ADD PRIMARY KEY (product_id, currency);
INSERT INTO product_sales (product_id, currency, sku, name, orders, units, revenue, updated_ms)
    SELECT product_id, currency, sku, name, orders, units, revenue, updated_ms FROM whole;
CREATE VIEW door_sales AS
    SELECT product_id, sku, name, currency, orders, units, revenue FROM product_sales;
CREATE INDEX product_sales_units ON product_sales (units DESC, product_id, currency);
GRANT SELECT ON door_sales TO dd_door;
