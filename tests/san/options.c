/* SPDX-License-Identifier: MIT */
/*
 * For builds with SAN=address: options of programs that clear their environment
 * and are not dumpable, so that neither ASAN_OPTIONS nor the leak checker, which
 * ptraces, works for them. Reports go where the throwaway host's tests look.
 */
const char *__asan_default_options(void);

__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
	return "detect_leaks=0:log_path=/var/log/nsbox-asan:abort_on_error=1:"
	       "detect_stack_use_after_return=0";
}
