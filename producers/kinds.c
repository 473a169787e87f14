/* The kinds of outside work this program does. */
#include "producers/payment_jobs.h"

const struct job_kind *const job_kinds[] = {&payment_authorise, &payment_capture, &payment_void, NULL};
