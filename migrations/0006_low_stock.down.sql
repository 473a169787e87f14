DROP TABLE low_stock;
