/* A 32-bit program without a C library: write, an unknown call, exit. */
static int call(int number, int first, int second, int third)
{
	int result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory");
	return result;
}

void _start(void)
{
	call(4, 1, (int)"32 bits\n", 8);
	call(20, 0, 0, 0);
	call(9999, 1, 2, 3);
	call(1, 0, 0, 0);
	for (;;)
		;
}
