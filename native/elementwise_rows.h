// The loops of elementwise.cc over one row of windows, or some rows of values. Included once for each kind of processor, in a
// namespace of its own: no templates of ours and no lambdas, since GCC compiles those for the kind the file begins with.

// Sixteen channels at once. Without AVX-512 the compiler makes several shorter operations of each.
constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Places = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));
using Bytes = uint8_t __attribute__((vector_size(kLanes)));

inline void load(Floats& vector, const float* from, int64_t count) {
  if (count == kLanes) {
    std::memcpy(&vector, from, sizeof vector);
  } else {
    vector = Floats{};
    std::memcpy(&vector, from, count * sizeof(float));
  }
}

inline void store(float* to, const Floats& vector, int64_t count) {
  if (count == kLanes) {
    std::memcpy(to, &vector, sizeof vector);
  } else {
    std::memcpy(to, &vector, count * sizeof(float));
  }
}

inline void compare(Floats& best, Places& winner, const float* from, int64_t count, int32_t place) {
  Floats candidate;
  load(candidate, from, count);
  const Places larger = (candidate > best) | (candidate != candidate);  // a NaN wins
  best = larger ? candidate : best;
  winner = larger ? Places{} + place : winner;
}

inline void put(const Floats& value, const Places& winner, float* to, int64_t count, int32_t place) {
  store(to, winner == place ? value : Floats{}, count);
}

void max_rows(const Windows& s, const float* image, float* maxima, uint8_t* winners) {
  const int64_t row = s.w * s.c, places = s.rows * s.columns;
  for (int64_t x = 0; x < s.across(); ++x) {
    for (int64_t c = 0; c < s.c; c += kLanes) {
      const float* window = image + x * s.columns * s.c + c;
      const int64_t count = std::min(kLanes, s.c - c);
      Floats best;
      Places winner{};
      load(best, window, count);
      if (s.rows == 2 && s.columns == 2) {
        compare(best, winner, window + s.c, count, 1);
        compare(best, winner, window + row, count, 2);
        compare(best, winner, window + row + s.c, count, 3);
      } else {
        for (int32_t i = 1; i < places; ++i) compare(best, winner, window + i / s.columns * row + i % s.columns * s.c, count, i);
      }
      store(maxima + x * s.c + c, best, count);
      if (winners) {
        const Bytes bytes = __builtin_convertvector(winner, Bytes);
        std::memcpy(winners + x * s.c + c, &bytes, count);
      }
    }
  }
}

void expand_rows(const Windows& s, const float* values, const uint8_t* winners, float* image) {
  const int64_t row = s.w * s.c, used = s.across() * s.columns * s.c, places = s.rows * s.columns;
  for (int64_t x = 0; x < s.across(); ++x) {
    for (int64_t c = 0; c < s.c; c += kLanes) {
      float* window = image + x * s.columns * s.c + c;
      const int64_t count = std::min(kLanes, s.c - c);
      Floats value;
      Bytes bytes{};
      load(value, values + x * s.c + c, count);
      std::memcpy(&bytes, winners + x * s.c + c, count);
      const Places winner = __builtin_convertvector(bytes, Places);
      if (s.rows == 2 && s.columns == 2) {
        put(value, winner, window, count, 0);
        put(value, winner, window + s.c, count, 1);
        put(value, winner, window + row, count, 2);
        put(value, winner, window + row + s.c, count, 3);
      } else {
        for (int32_t i = 0; i < places; ++i) put(value, winner, window + i / s.columns * row + i % s.columns * s.c, count, i);
      }
    }
  }
  for (int64_t y = 0; y < s.rows; ++y) std::memset(image + y * row + used, 0, (row - used) * sizeof(float));
}

void select_rows(const Windows& s, const float* image, const uint8_t* winners, float* values) {
  for (int64_t x = 0; x < s.across(); ++x) {
    for (int64_t c = 0; c < s.c; ++c) {
      const int64_t place = winners[x * s.c + c];
      values[x * s.c + c] = image[place / s.columns * s.w * s.c + (x * s.columns + place % s.columns) * s.c + c];
    }
  }
}

// The maxima of the windows of one row, `y`, of an image.
void sliding_max_row(const Sliding& s, int64_t y, const float* image, float* maxima, uint8_t* winners) {
  const int64_t row = s.w * s.c, top = y * s.step_down - s.top;
  const int64_t first = std::max<int64_t>(0, -top), last = std::min(s.rows, s.h - top);
  for (int64_t x = 0; x < s.across; ++x) {
    const int64_t left = x * s.step_across - s.left;
    const int64_t begin = std::max<int64_t>(0, -left), end = std::min(s.columns, s.w - left);
    for (int64_t c = 0; c < s.c; c += kLanes) {
      const float* window = image + top * row + left * s.c + c;
      const int64_t count = std::min(kLanes, s.c - c);
      Floats best;
      Places winner = Places{} + static_cast<int32_t>(first * s.columns + begin);
      load(best, window + first * row + begin * s.c, count);
      for (int64_t i = first; i < last; ++i) {
        for (int64_t j = begin; j < end; ++j) {
          compare(best, winner, window + i * row + j * s.c, count, static_cast<int32_t>(i * s.columns + j));
        }
      }
      store(maxima + x * s.c + c, best, count);
      if (winners) {
        const Bytes bytes = __builtin_convertvector(winner, Bytes);
        std::memcpy(winners + x * s.c + c, &bytes, count);
      }
    }
  }
}

// Row `y` of an image: the sum of the values of the windows whose winner lies there.
void sliding_expand_row(const Sliding& s, int64_t y, const float* values, const uint8_t* winners, float* image) {
  std::memset(image, 0, s.w * s.c * sizeof(float));
  const int64_t below = y + s.top, over = below - s.rows + s.step_down;  // of the first window that reaches this row
  for (int64_t down = std::max<int64_t>(0, over < 0 ? 0 : over / s.step_down); down < s.down && down * s.step_down <= below;
       ++down) {
    const int64_t i = below - down * s.step_down;
    for (int64_t x = 0; x < s.across; ++x) {
      const int64_t left = x * s.step_across - s.left;
      const int64_t begin = std::max<int64_t>(0, -left), end = std::min(s.columns, s.w - left);
      for (int64_t c = 0; c < s.c; c += kLanes) {
        const int64_t count = std::min(kLanes, s.c - c), from = (down * s.across + x) * s.c + c;
        Floats value;
        Bytes bytes{};
        load(value, values + from, count);
        std::memcpy(&bytes, winners + from, count);
        const Places winner = __builtin_convertvector(bytes, Places);
        for (int64_t j = begin; j < end; ++j) {
          float* to = image + (left + j) * s.c + c;
          Floats sum;
          load(sum, to, count);
          sum += winner == static_cast<int32_t>(i * s.columns + j) ? value : Floats{};
          store(to, sum, count);
        }
      }
    }
  }
}

void sliding_select_row(const Sliding& s, int64_t y, const float* image, const uint8_t* winners, float* values) {
  for (int64_t x = 0; x < s.across; ++x) {
    for (int64_t c = 0; c < s.c; ++c) {
      const int64_t place = winners[x * s.c + c];
      const int64_t i = y * s.step_down - s.top + place / s.columns, j = x * s.step_across - s.left + place % s.columns;
      const bool inside = i >= 0 && i < s.h && j >= 0 && j < s.w;
      values[x * s.c + c] = inside ? image[(i * s.w + j) * s.c + c] : 0.0f;
    }
  }
}

void sum_rows(int64_t rows, int64_t channels, const float* values, float* block, float* sums) {
  std::memset(sums, 0, channels * sizeof(float));
  for (int64_t first = 0; first < rows; first += kRowsPerSum) {
    const int64_t last = std::min(rows, first + kRowsPerSum);
    std::memset(block, 0, channels * sizeof(float));
    int64_t row = first;
    for (; row + 4 <= last; row += 4) {
      const float *a = values + row * channels, *b = a + channels, *d = b + channels, *e = d + channels;
      for (int64_t c = 0; c < channels; ++c) block[c] += (a[c] + b[c]) + (d[c] + e[c]);
    }
    for (; row < last; ++row) {
      for (int64_t c = 0; c < channels; ++c) block[c] += values[row * channels + c];
    }
    for (int64_t c = 0; c < channels; ++c) sums[c] += block[c];
  }
}
