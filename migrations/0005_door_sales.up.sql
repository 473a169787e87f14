-- What the front door may read of the reports.
CREATE VIEW door_sales AS
    SELECT product_id, sku, name, currency, orders, units, revenue FROM product_sales;
CREATE INDEX product_sales_units ON product_sales (units DESC, product_id, currency);
GRANT SELECT ON door_sales TO dd_door;
