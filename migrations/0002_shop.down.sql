DROP TABLE payment_test_charge, payment_test_call, payment, order_timeline, order_line, orders, order_product, cart_line, cart_product,
           stock_hold, stock_movement, stock, warehouse, product, brand, category, session, app_user;
