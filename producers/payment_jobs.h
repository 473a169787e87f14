/* Outside work of payments: the provider named by the payment's method is asked, its answer becomes an event.
 */
#pragma once

#include "producers/jobs.h"

extern const struct job_kind payment_authorise, payment_capture, payment_void;
