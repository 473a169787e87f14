DROP INDEX product_sales_units;
DROP VIEW door_sales;
