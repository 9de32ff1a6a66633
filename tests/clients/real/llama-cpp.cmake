# llama.cpp's library of helpers for its own programs takes as long to compile as all the rest, and no test needs it.
set(LLAMA_BUILD_COMMON OFF)
