-- reports: one row per partition of orders and product. Orders of one product lie in many partitions, which several
-- members may own; each writes rows of its own, and the view adds them up.
DROP VIEW door_sales;
DROP INDEX product_sales_units;
ALTER TABLE product_sales ADD COLUMN part bigint NOT NULL DEFAULT -1; -- -1: counted before there were parts
ALTER TABLE product_sales DROP CONSTRAINT product_sales_pkey, ADD PRIMARY KEY (product_id, currency, part);
CREATE VIEW door_sales AS
    SELECT product_id, max(sku) AS sku, max(name) AS name, currency, sum(orders)::bigint AS orders,
        sum(units)::bigint AS units, sum(revenue)::bigint AS revenue
    FROM product_sales GROUP BY product_id, currency;
GRANT SELECT ON door_sales TO dd_door;
