DROP TABLE product_sales, report_line;
