/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - which command runs. */
int main(void) { return 0; }
