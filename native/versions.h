// A wheel serves every x86-64 processor: loops are compiled for three kinds of them, and the first call chooses.
//
// A file of loops is included once for each kind, in a namespace of its own; FLAXCNN_BEST(name) is the function for this
// processor. Other compilers than GCC, and other processors, have the loops once, in the namespace `any`.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FLAXCNN_VERSIONS 1
#define FLAXCNN_BEST(name)                                                                                            \
  (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") \
       ? avx512::name                                                                                                 \
   : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2::name                                     \
                                                                     : any::name)
#else
#define FLAXCNN_VERSIONS 0
#define FLAXCNN_BEST(name) any::name
#endif
