/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/winograd.h - the transforms of Winograd's F(4x4,3x3) (Lavin, Gray 2016), for one tile or, backward, a
   panel of them.

   Included by each set after its definitions of vec, W, get, put, spread, mul_add, turn_four: one source, so
   all sets give the same bits. Points 0, +-a, +-b, infinity with a = 5/8, b = 3/2: all entries of
   B and A are exact in binary, and the error is half of that of 0, +-1, +-2.

     forward    V = B' x B,   M_i = V_i U_i (36 products),   y = A' M A,   U = G w G'
     backward   Z = A gy A',  gV_i = U_i Z_i,  gU_i = Z_i V_i,  gx = B gV B',  gw = G' gU G

   with V_i (tiles,in), U_i (in,out), M_i (tiles,out), but Z_i (out,tiles), gV_i (in,tiles), gU_i (out,in): so U serves both
   directions as it stands. Tiles come by the panel there, and pixels are turned.

   A matrix of 6 x 6 stands as 36 slices: element (i,j) of channel ch at (6 i + j) slice + ch. */

#define WA1 0.625f
#define WA2 (WA1 * WA1)
#define WA3 (WA1 * WA1 * WA1)
#define WB1 1.5f
#define WB2 (WB1 * WB1)
#define WB3 (WB1 * WB1 * WB1)
#define WSUM (WA2 + WB2)
#define WPROD (WA2 * WB2)
#define WGA (1 / (2 * WA2 * (WA2 - WB2)))
#define WGB (1 / (2 * WB2 * (WB2 - WA2)))

INLINE vec scale_add(float s, vec a, vec b) { return mul_add(spread(s), a, b); }
INLINE vec scaled(float s, vec a) { return spread(s) * a; }

/* B' d, elements of d and o at strides s and t. */
INLINE void times_bt(const vec *d, int s, vec *o, int t)
{
  const vec p = scale_add(-WB2, d[2 * s], d[4 * s]), q = scale_add(-WB2, d[s], d[3 * s]);
  const vec r = scale_add(-WA2, d[2 * s], d[4 * s]), u = scale_add(-WA2, d[s], d[3 * s]);

  o[0] = scale_add(WPROD, d[0], scale_add(-WSUM, d[2 * s], d[4 * s]));
  o[5 * t] = scale_add(WPROD, d[s], scale_add(-WSUM, d[3 * s], d[5 * s]));
  o[t] = scale_add(WA1, q, p);
  o[2 * t] = scale_add(-WA1, q, p);
  o[3 * t] = scale_add(WB1, u, r);
  o[4 * t] = scale_add(-WB1, u, r);
}

INLINE void times_b(const vec *v, int s, vec *o, int t)
{
  const vec sa = v[s] + v[2 * s], da = v[s] - v[2 * s], sb = v[3 * s] + v[4 * s], db = v[3 * s] - v[4 * s];

  o[0] = scaled(WPROD, v[0]);
  o[t] = scale_add(-WA1 * WB2, da, scale_add(-WB1 * WA2, db, scaled(WPROD, v[5 * s])));
  o[2 * t] = scale_add(-WB2, sa, scale_add(-WA2, sb, scaled(-WSUM, v[0])));
  o[3 * t] = scale_add(WA1, da, scale_add(WB1, db, scaled(-WSUM, v[5 * s])));
  o[4 * t] = (v[0] + sa) + sb;
  o[5 * t] = v[5 * s];
}

INLINE void times_at(const vec *m, int s, vec *o, int t) /* 6 -> 4 */
{
  const vec sa = m[s] + m[2 * s], da = m[s] - m[2 * s], sb = m[3 * s] + m[4 * s], db = m[3 * s] - m[4 * s];

  o[0] = (m[0] + sa) + sb;
  o[t] = scale_add(WA1, da, scaled(WB1, db));
  o[2 * t] = scale_add(WA2, sa, scaled(WB2, sb));
  o[3 * t] = scale_add(WA3, da, scale_add(WB3, db, m[5 * s]));
}

INLINE void times_a(const vec *y, int s, vec *o, int t) /* 4 -> 6 */
{
  const vec e = scale_add(WA2, y[2 * s], y[0]), f = scale_add(WA3, y[3 * s], scaled(WA1, y[s]));
  const vec g = scale_add(WB2, y[2 * s], y[0]), h = scale_add(WB3, y[3 * s], scaled(WB1, y[s]));

  o[0] = y[0];
  o[t] = e + f;
  o[2 * t] = e - f;
  o[3 * t] = g + h;
  o[4 * t] = g - h;
  o[5 * t] = y[3 * s];
}

INLINE void times_g(const vec *w, int s, vec *o, int t) /* 3 -> 6 */
{
  const vec e = scale_add(WA2, w[2 * s], w[0]), g = scale_add(WB2, w[2 * s], w[0]);

  o[0] = scaled(1 / WPROD, w[0]);
  o[t] = scaled(WGA, scale_add(WA1, w[s], e));
  o[2 * t] = scaled(WGA, scale_add(-WA1, w[s], e));
  o[3 * t] = scaled(WGB, scale_add(WB1, w[s], g));
  o[4 * t] = scaled(WGB, scale_add(-WB1, w[s], g));
  o[5 * t] = w[2 * s];
}

INLINE void times_gt(const vec *u, int s, vec *o, int t) /* 6 -> 3 */
{
  const vec sa = scaled(WGA, u[s] + u[2 * s]), da = scaled(WGA, u[s] - u[2 * s]);
  const vec sb = scaled(WGB, u[3 * s] + u[4 * s]), db = scaled(WGB, u[3 * s] - u[4 * s]);

  o[0] = scale_add(1 / WPROD, u[0], sa + sb);
  o[t] = scale_add(WA1, da, scaled(WB1, db));
  o[2 * t] = scale_add(WA2, sa, scale_add(WB2, sb, u[5 * s]));
}

/* Each transform of the channels of one vector, of which some are missing; `some` is a constant
   after inlining. */
INLINE void v_of_x(const float *const x[36], float *v, int64_t slice, int64_t ch, int some, mask m)
{
  vec e[36], o[6];

  UNROLL
  for (int j = 0; j < 6; j++) {
    vec d[6];

    UNROLL
    for (int i = 0; i < 6; i++) d[i] = get(some, m, x[6 * i + j] + ch);
    times_bt(d, 1, e + j, 6);
  }
  UNROLL
  for (int i = 0; i < 6; i++) {
    times_bt(e + 6 * i, 1, o, 1);
    UNROLL
    for (int j = 0; j < 6; j++) put(some, m, v + (6 * i + j) * slice + ch, o[j]);
  }
}

INLINE void y_of_m(const float *q, int64_t slice, const float *bias, const float *const base[16],
                   float *const y[16], int64_t ch, int some, mask m)
{
  const vec b = get(some, m, bias + ch);
  vec e[24], o[4];

  UNROLL
  for (int j = 0; j < 6; j++) {
    vec d[6];

    UNROLL
    for (int i = 0; i < 6; i++) d[i] = get(some, m, q + (6 * i + j) * slice + ch);
    times_at(d, 1, e + j, 6);
  }
  UNROLL
  for (int i = 0; i < 4; i++) {
    times_at(e + 6 * i, 1, o, 1);
    UNROLL
    for (int j = 0; j < 4; j++) {
      vec sum = o[j] + b;

      if (base) sum += get(some, m, base[4 * i + j] + ch);
      put(some, m, y[4 * i + j] + ch, sum);
    }
  }
}

INLINE void z_of_gy(const float *const gy[16], float *z, int64_t slice, int64_t ch)
{
  const mask none = first_lanes(0);
  vec e[24], o[6];

  UNROLL
  for (int j = 0; j < 4; j++) {
    vec d[4];

    UNROLL
    for (int i = 0; i < 4; i++) d[i] = get(0, none, gy[4 * i + j] + ch);
    times_a(d, 1, e + j, 4);
  }
  UNROLL
  for (int i = 0; i < 6; i++) {
    times_a(e + 4 * i, 1, o, 1);
    UNROLL
    for (int j = 0; j < 6; j++) put(0, none, z + (6 * i + j) * slice + ch, o[j]);
  }
}

INLINE void gx_of_gv(float gv[36][W], float *const gx[36], int64_t ch, int some, mask m)
{
  vec e[36], o[6];

  UNROLL
  for (int j = 0; j < 6; j++) {
    vec d[6];

    UNROLL
    for (int i = 0; i < 6; i++) d[i] = get(0, m, gv[6 * i + j]);
    times_b(d, 1, e + j, 6);
  }
  UNROLL
  for (int i = 0; i < 6; i++) {
    times_b(e + 6 * i, 1, o, 1);
    UNROLL
    for (int j = 0; j < 6; j++) {
      float *const to = gx[6 * i + j] + ch;

      put(some, m, to, get(some, m, to) + o[j]);
    }
  }
}

INLINE void g_w(const float *w, int64_t tap, int64_t ch, int some, mask m, vec e[18])
{
  UNROLL
  for (int j = 0; j < 3; j++) {
    vec d[3];

    UNROLL
    for (int i = 0; i < 3; i++) d[i] = get(some, m, w + (3 * i + j) * tap + ch);
    times_g(d, 1, e + j, 3);
  }
}

INLINE void u_of_w(const float *w, int64_t tap, float *u, int64_t slice, int64_t ch, int some, mask m)
{
  vec e[18], o[6];

  g_w(w, tap, ch, some, m, e);
  UNROLL
  for (int i = 0; i < 6; i++) {
    times_g(e + 3 * i, 1, o, 1);
    UNROLL
    for (int j = 0; j < 6; j++) put(some, m, u + (6 * i + j) * slice + ch, o[j]);
  }
}

INLINE void gw_of_gu(const float *gu, int64_t slice, float *gw, int64_t tap, int64_t ch, int some, mask m)
{
  vec e[18], o[3];

  UNROLL
  for (int j = 0; j < 6; j++) {
    vec d[6];

    UNROLL
    for (int i = 0; i < 6; i++) d[i] = get(some, m, gu + (6 * i + j) * slice + ch);
    times_gt(d, 1, e + j, 6);
  }
  UNROLL
  for (int i = 0; i < 3; i++) {
    times_gt(e + 6 * i, 1, o, 1);
    UNROLL
    for (int j = 0; j < 3; j++) {
      float *const to = gw + (3 * i + j) * tap + ch;

      put(some, m, to, get(some, m, to) + o[j]);
    }
  }
}

/* The slots: all whole vectors, then the rest. */
#define WINOGRAD_CHANNELS(n, f, ...)                                     \
  do {                                                                   \
    const mask last_ = first_lanes((n) % W);                             \
    int64_t ch_ = 0;                                                     \
                                                                         \
    for (; ch_ + W <= (n); ch_ += W) f(__VA_ARGS__, ch_, 0, last_);      \
    if (ch_ < (n)) f(__VA_ARGS__, ch_, 1, last_);                        \
  } while (0)

static void winograd_v(int64_t n, const float *const x[36], float *v, int64_t slice)
{
  WINOGRAD_CHANNELS(n, v_of_x, x, v, slice);
}

static void winograd_y(int64_t n, const float *m, int64_t slice, const float *bias, const float *const *base,
                       float *const y[16])
{
  if (base) WINOGRAD_CHANNELS(n, y_of_m, m, slice, bias, base, y);
  else WINOGRAD_CHANNELS(n, y_of_m, m, slice, bias, NULL, y);
}

enum { TURNED = 16, PIXELS = 16 }; /* channels that are turned at a time; pixels of a tile */
_Static_assert(DX_PANEL % W == 0 && DX_PANEL % 4 == 0, "a panel is turned by whole vectors, four columns at a time");

/* Channels c..c+n-1 of one pixel of each tile. */
INLINE void turn_pixel(int64_t n, const float *const *pixel, int64_t c, float turned[TURNED * DX_PANEL])
{
  for (int t = 0; t < DX_PANEL; t += W, pixel += PIXELS * W, turned += W) {
    int64_t j = 0;

    for (; j + 4 <= n; j += 4) {
      vec v[4];

      turn_four(pixel, PIXELS, c + j, v);
      UNROLL
      for (int u = 0; u < 4; u++) put(0, first_lanes(0), turned + (j + u) * DX_PANEL, v[u]);
    }
    for (; j < n; j++)
      for (int i = 0; i < W; i++) turned[j * DX_PANEL + i] = pixel[PIXELS * i][c + j];
  }
}

static void winograd_z(int64_t n, const float *const gy[16 * DX_PANEL], float *z, int64_t slice)
{
  _Alignas(64) float turned[PIXELS][TURNED * DX_PANEL];
  const float *of[PIXELS];

  for (int i = 0; i < PIXELS; i++) of[i] = turned[i];
  for (int64_t c = 0; c < n; c += TURNED) {
    const int64_t some = n - c < TURNED ? n - c : TURNED;

    for (int i = 0; i < PIXELS; i++) turn_pixel(some, gy + i, c, turned[i]);
    for (int64_t i = 0; i < some * DX_PANEL; i += W) z_of_gy(of, z + c * DX_PANEL, slice, i);
  }
}

/* Channels ch.. of one vector, four tiles at a time. */
INLINE void gx_of_panel(int64_t n, const float *gv, int64_t row, int64_t slice, float *const *gx, int64_t ch, int some, mask m)
{
  const float *rows[W];

  for (int i = 0; i < W; i++) rows[i] = gv + (ch + i < n ? ch + i : ch) * row;
  for (int t = 0; t < DX_PANEL; t += 4) {
    _Alignas(64) float tile[4][36][W];

    for (int i = 0; i < 36; i++) {
      vec v[4];

      turn_four(rows, 1, i * slice + t, v);
      UNROLL
      for (int u = 0; u < 4; u++) put(0, m, tile[u][i], v[u]);
    }
    for (int u = 0; u < 4; u++) gx_of_gv(tile[u], gx + (t + u) * 36, ch, some, m);
  }
}

static void winograd_gx(int64_t n, const float *gv, int64_t row, int64_t slice, float *const gx[36 * DX_PANEL])
{
  WINOGRAD_CHANNELS(n, gx_of_panel, n, gv, row, slice, gx);
}

static void winograd_u(int64_t rows, int64_t n, const float *w, int64_t row_w, int64_t tap, float *u, int64_t slice)
{
  for (; rows > 0; rows--, w += row_w, u += n) WINOGRAD_CHANNELS(n, u_of_w, w, tap, u, slice);
}

static void winograd_gw(int64_t n, const float *gu, int64_t slice, float *gw, int64_t tap)
{
  WINOGRAD_CHANNELS(n, gw_of_gu, gu, slice, gw, tap);
}
