/*
 * The program of docs/examples/subscriber.c beside a shop: a subscriber of the C library that keeps a table
 * of order.* events in the shop's PostgreSQL, each exactly once. SUBSCRIBER names another build of it (the
 * one made against the installed library). Instances die with the test.
 */
#pragma once

#include <sys/types.h>

#include "tests/support/shop.h"

/* The table it fills. Once per shop. */
void invoices_table(struct shop *shop);
/* One more instance, under the name `invoices`. */
pid_t invoices_launch(struct shop *shop);
/* Sends that signal and returns the wait status when it is gone. */
int invoices_end(pid_t pid, int signal_number);
/* When the shop is quiet: rows that are missing or too many beside the events of the log since that time
 * (ms), plus those that came in another order than their key's. */
int64_t invoices_wrong(struct shop *shop, int64_t since_ms);
