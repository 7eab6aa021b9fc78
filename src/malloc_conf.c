/*
 * Options that jemalloc reads at program start. Setting them from Rust would need unsafe code.
 *
 * narenas:1            All threads share one arena, so memory freed by one is available to the others. With
 *                      the default of four per core a flood of lines used up to 50 % more memory and was no
 *                      faster (measured on two cores).
 * dirty_decay_ms:1000  Free memory is returned to the system after one second instead of ten.
 */
const char *_rjem_malloc_conf = "narenas:1,dirty_decay_ms:1000";
