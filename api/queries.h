/* What can be read, for the route table. */
#pragma once

#include "api/http.h"
#include "bus/codec.h"

/* Query parameters of those that take some; the rows of routes.c name them. */
extern const struct shape page_params, order_list_params, stock_params, low_stock_params, movement_params,
    why_params;

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
