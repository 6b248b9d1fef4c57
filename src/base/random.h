/* SPDX-License-Identifier: Apache-2.0 */
/* base/random.h - random numbers as pure functions of what they are for.

   Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as
   1, 2, 3"): there is no state. The key is the seed; the 128-bit counter is

     word 0   block of four elements: element / 4
     word 1   index, low 32 bits   (place in the batch, or example)
     word 2   step, low 32 bits    (optimizer step, or timestep t)
     word 3   purpose (8 bits) | layer (8) | step bits 32..39 (8) | index bits 32..39 (8)

   never a place in a grain, a rank or a thread. doc/formats.md repeats this. */
#ifndef DX_BASE_RANDOM_H
#define DX_BASE_RANDOM_H
#include <stdint.h>

typedef enum {
  DX_FOR_INIT = 1,    /* initial weights: layer, index 0 */
  DX_FOR_DATA,        /* procedural sets: split as step, index of the sample */
  DX_FOR_ORDER,       /* order of the samples: epoch as step */
  DX_FOR_TIME,        /* timestep of a training example: step, place in the batch */
  DX_FOR_NOISE,       /* its noise */
  DX_FOR_DROPOUT,     /* layer, step, place */
  DX_FOR_FLIP,        /* step, place */
  DX_FOR_EVAL_TIME,   /* stratified timesteps: stratum as step, example */
  DX_FOR_EVAL_NOISE,  /* t as step, number of the draw as its bits 32..39, example */
  DX_FOR_DECODER,     /* noise of the decoder variance's estimate: example of the train split */
  DX_FOR_SAMPLE,      /* t as step (T+1 for the start), index of the sample */
  DX_FOR_TEST,
  DX_FOR_VARIANCE,    /* noise of an estimated reverse variance: t as step, example of the train split */
  DX_FOR_PILOT        /* noise of a pilot evaluation: the same */
} dx_purpose;

/* Which numbers: everything but the element. */
typedef struct {
  uint64_t seed;
  dx_purpose purpose;
  uint32_t layer;       /* below 256 */
  uint64_t step, index; /* below 2^40 */
} dx_stream;

/* ctr -> out, both four words (the function that the kernel set repeats). */
void dx_philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);
/* Key and counter of block 0 of a stream. */
void dx_stream_start(const dx_stream *s, uint32_t key[2], uint32_t ctr[4]);
/* The four words of elements 4*block .. 4*block+3. */
void dx_stream_words(const dx_stream *s, uint32_t block, uint32_t out[4]);
/* Whole number in [0, n) from one 32-bit word, n < 2^32: floor(word * n / 2^32). */
static inline uint32_t dx_below(uint32_t word, uint32_t n)
{
  return (uint32_t)(((uint64_t)word * n) >> 32);
}
/* Number in (0, 1): (word + 1/2) / 2^32. */
static inline double dx_uniform(uint32_t word) { return (word + 0.5) * 0x1p-32; }

/* n standard normals of a stream by Box-Muller, exactly those of the kernel slot `normals`
   (kernel/kernel.h) before it rounds to float. For set-up work; kernels do the rest. */
void dx_stream_normals(const dx_stream *s, int64_t n, double *out);

/* A keyed permutation of 0..n-1 computed on the fly: a Feistel network over
   the next power of four (at most 4n), walked until it lands below n. */
typedef struct { uint64_t n; uint32_t half_bits, key[8]; } dx_permutation;
void dx_permutation_init(dx_permutation *p, uint64_t n, uint64_t seed, uint64_t epoch);
uint64_t dx_permutation_at(const dx_permutation *p, uint64_t i); /* i < n */
#endif
