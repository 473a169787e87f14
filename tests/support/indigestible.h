/* Keys that no handler digests, told to programs under FAULT_POISON (bus/base/fault.h) by a file that is
 * replaced as a whole: a story can break handlers and mend them while they run. */
#pragma once

/* What handlers do with messages of that key from now on: "bad", "segv", "abort", "hang"; NULL: they digest
 * everything. Ends the test when the file cannot be written. */
void indigestible(const char *path, const char *key, const char *action);
