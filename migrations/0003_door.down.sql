DROP VIEW door_order_timeline, door_order_line, door_order, door_cart, door_warehouse, door_movement, door_low_stock,
          door_stock, door_brand, door_category, door_product, door_session, door_login, door_user;
DROP INDEX orders_newest, stock_movement_newest, stock_by_quantity, product_brand_newest, product_brand_name,
           product_brand_rating, product_brand_amount, product_category_newest, product_category_name,
           product_category_rating, product_category_amount, product_by_name, product_by_rating, product_by_amount,
           app_user_super, app_user_created, app_user_updated, session_revoked;
DROP FUNCTION door_amount(bigint, text);
CREATE INDEX product_by_price ON product (price, id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_by_category ON product (category, price, id) WHERE is_active AND NOT is_deleted;
CREATE INDEX product_by_brand ON product (brand, price, id) WHERE is_active AND NOT is_deleted;
