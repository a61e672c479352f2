#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "load.h"

/* options_parse fills the options from the command line, or ends the program with a usage. */
void options_parse(struct options *options, int argc, char **argv);

#endif
