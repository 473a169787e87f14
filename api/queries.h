/* What can be read, for the route table. */
#pragma once

#include "api/http.h"

void list_categories(struct request *req);
void list_brands(struct request *req);
void list_stock(struct request *req);
void list_low_stock(struct request *req);
void list_movements(struct request *req);
void list_warehouses(struct request *req);
void get_cart(struct request *req);
void list_orders(struct request *req);
void get_order(struct request *req);
void get_me(struct request *req);
void get_user(struct request *req);
void list_users(struct request *req);
void list_sales(struct request *req);
void get_why(struct request *req);
