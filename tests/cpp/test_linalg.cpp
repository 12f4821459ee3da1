#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "bending_rows.hpp"
#include "eyespot/linalg.hpp"
#include "eyespot/preconditioner.hpp"
#include "matrices.hpp"
#include "runtime/simd.hpp"
#include "solver/loss_kernels.hpp"

using namespace eyespot;

namespace {

PanelMatrix packed(const std::vector<float>& m, std::size_t rows, std::size_t cols) {
  PanelMatrix out(rows, cols);
  pack_rows({.data = m.data(), .cols = cols, .stride = cols, .rows = nullptr}, 0, rows, nullptr,
            nullptr, out);
  return out;
}

MultiplyRange everything(const PanelMatrix& a, const PanelMatrix& b) {
  return {.row_begin = 0,
          .row_end = a.rows(),
          .panel_begin = 0,
          .panel_end = b.n_panels(),
          .inner_begin = 0,
          .inner_end = a.n_panels()};
}

void check_products(std::size_t m, std::size_t d, std::size_t k) {
  const auto a = random_matrix(m, d, 1);
  const auto b = random_matrix(d, k, 2);
  const PanelMatrix pa = packed(a, m, d);
  const PanelMatrix pb = packed(b, d, k);
  PanelMatrix product(m, k);
  multiply(pa, pb, MultiplyInit::zero, nullptr, everything(pa, pb), product);
  std::vector<double> sum(panel_sums(k, pa), 0.5);
  accumulate_transposed(product, pa, m, sum.data());
  double worst = 0;
  std::vector<double> expected(m * k);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < k; ++j) {
      double s = 0;
      for (std::size_t p = 0; p < d; ++p) {
        s += static_cast<double>(a[i * d + p]) * static_cast<double>(b[p * k + j]);
      }
      expected[i * k + j] = s;
      worst = std::max(worst, std::abs(s - static_cast<double>(at(product, i, j))));
    }
  }
  CHECK(worst < 1e-5 * std::sqrt(static_cast<double>(d)));
  worst = 0;
  for (std::size_t c = 0; c < k; ++c) {
    for (std::size_t j = 0; j < d; ++j) {
      double s = 0.5;
      for (std::size_t i = 0; i < m; ++i) {
        s += expected[i * k + c] * static_cast<double>(a[i * d + j]);
      }
      worst = std::max(worst, std::abs(s - sum[sum_index(pa, k, c, j)]));
    }
  }
  CHECK(worst < 2e-6 * std::sqrt(static_cast<double>(m * d * d)) + 1e-5);
}

}  // namespace

TEST_CASE("products agree with the plain sum on every target, at every remainder") {
  for (const std::string_view target : detail::simd_targets()) {
    CAPTURE(target);
    detail::force_simd_target(target);
    for (const std::size_t n : std::initializer_list<std::size_t>{1, 2, 3, 5, 7, 8, 15, 16, 17, 31,
                                                                  33, 47, 48, 49, 97, 130}) {
      check_products(n, 29, 5);
      check_products(11, n, 5);
      check_products(11, 29, n);
    }
    check_products(301, 150, 100);
    check_products(1, 1, 1);
  }
  detail::force_simd_target("");
}

TEST_CASE("the product with a transposed factor of few rows agrees with the plain sum") {
  for (const std::string_view target : detail::simd_targets()) {
    CAPTURE(target);
    detail::force_simd_target(target);
    for (std::size_t k = 1; k <= kMaxTransposed; ++k) {
      for (const std::size_t d : std::initializer_list<std::size_t>{1, 15, 16, 48, 49, 130}) {
        CAPTURE(k);
        CAPTURE(d);
        constexpr std::size_t n = 27;
        const auto a = random_matrix(n, d, 1);
        const auto b = random_matrix(k, d, 2);
        const PanelMatrix pa = packed(a, n, d);
        const PanelMatrix pb = packed(b, k, d);
        PanelMatrix product(n, k);
        std::vector<float> row(k + 64, -5.0F);
        for (std::size_t c = 0; c < k; ++c) row[c] = static_cast<float>(c);
        multiply_transposed(pa, pb, 0, row.data(), n - 1, product);
        double worst = 0;
        for (std::size_t i = 0; i + 1 < n; ++i) {
          for (std::size_t c = 0; c < k; ++c) {
            auto expected = static_cast<double>(c);
            for (std::size_t j = 0; j < d; ++j) {
              expected += static_cast<double>(a[i * d + j]) * static_cast<double>(b[c * d + j]);
            }
            worst = std::max(worst, std::abs(expected - static_cast<double>(at(product, i, c))));
          }
          const std::size_t last = product.n_panels() - 1;
          for (std::size_t j = product.used(last); j < product.width(last); ++j) {
            CHECK(product.panel(last)[i * product.width(last) + j] == -5.0F);
          }
        }
        CHECK(worst < 1e-5 * std::sqrt(static_cast<double>(d)));
        CHECK(at(product, n - 1, k - 1) == 0.0F);  // not asked for
      }
    }
  }
  detail::force_simd_target("");
}

TEST_CASE("a product can start from a row, or from what is there, and cover a part") {
  const auto a = random_matrix(20, 100, 3);
  const auto b = random_matrix(100, 60, 4);
  const PanelMatrix pa = packed(a, 20, 100);
  const PanelMatrix pb = packed(b, 100, 60);
  PanelMatrix whole(20, 60);
  const std::vector<float> row(whole.n_panels() * whole.panel_width(), 2.0F);
  multiply(pa, pb, MultiplyInit::row, row.data(), everything(pa, pb), whole);
  PanelMatrix zero(20, 60);
  multiply(pa, pb, MultiplyInit::zero, nullptr, everything(pa, pb), zero);
  CHECK(at(whole, 7, 59) == doctest::Approx(static_cast<double>(at(zero, 7, 59)) + 2.0));
  // The inner dimension in two parts, the rows in two parts.
  PanelMatrix parts(20, 60);
  MultiplyRange range = everything(pa, pb);
  range.inner_end = 1;
  multiply(pa, pb, MultiplyInit::zero, nullptr, range, parts);
  range.inner_begin = 1;
  range.inner_end = pa.n_panels();
  range.row_end = 13;
  multiply(pa, pb, MultiplyInit::existing, nullptr, range, parts);
  range.row_begin = 13;
  range.row_end = 20;
  multiply(pa, pb, MultiplyInit::existing, nullptr, range, parts);
  for (std::size_t i = 0; i < 20; ++i) {
    for (std::size_t j = 0; j < 60; ++j) {
      CHECK(at(parts, i, j) == doctest::Approx(static_cast<double>(at(zero, i, j))).epsilon(1e-5));
    }
  }
}

TEST_CASE("packing subtracts, scales, follows a row list and transposes") {
  const auto m = random_matrix(10, 70, 5);
  const std::vector<float> offset(70, 0.25F);
  const std::vector<float> scale{2.0F, 3.0F};
  const std::vector<std::uint32_t> rows{9, 4, 1};
  PanelMatrix out(2, 70);
  pack_rows({.data = m.data(), .cols = 70, .stride = 70, .rows = rows.data()}, 1, 2, offset.data(),
            scale.data(), out);
  for (std::size_t j = 0; j < 70; ++j) {
    CHECK(at(out, 0, j) == (m[std::size_t{4} * 70 + j] - 0.25F) * 2.0F);
    CHECK(at(out, 1, j) == (m[70 + j] - 0.25F) * 3.0F);
  }
  PanelMatrix transposed(70, 10);
  pack_transposed(m, 10, 70, transposed);
  for (std::size_t i = 0; i < 10; ++i) {
    for (std::size_t j = 0; j < 70; ++j) CHECK(at(transposed, j, i) == m[i * 70 + j]);
  }
}

TEST_CASE("the Gram sum fills the lower triangle like the full product") {
  const auto m = random_matrix(200, 101, 6);
  const PanelMatrix a = packed(m, 200, 101);
  std::vector<double> full(panel_sums(101, a));
  LowerTriangle lower(101);
  accumulate_transposed(a, a, 200, full.data());
  for (std::size_t q = 0; q < a.n_panels(); ++q) accumulate_gram(a, 200, q, lower.panel(q));
  for (std::size_t i = 0; i < 101; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      CHECK(lower(i, j) == full[sum_index(a, 101, i, j)]);
    }
  }
}

TEST_CASE("dot products and scaled sums agree with plain ones on every target") {
  for (const std::string_view target : detail::simd_targets()) {
    CAPTURE(target);
    detail::force_simd_target(target);
    for (const std::size_t n :
         std::initializer_list<std::size_t>{0, 1, 3, 8, 15, 16, 31, 32, 33, 64, 100}) {
      CAPTURE(n);
      const auto a = random_matrix(1, n, 8);
      const auto b = random_matrix(1, n, 9);
      const std::vector<double> a64(a.begin(), a.end());
      const std::vector<double> b64(b.begin(), b.end());
      double sum = 0;
      for (std::size_t i = 0; i < n; ++i) sum += a64[i] * b64[i];
      const std::span<const float> x(a);
      const std::span<const double> x64(a64);
      CHECK(dot(x, std::span<const float>(b)) == doctest::Approx(sum));
      CHECK(dot(x, std::span<const double>(b64)) == doctest::Approx(sum));
      CHECK(dot(x64, std::span<const double>(b64)) == doctest::Approx(sum));
      std::vector<double> y(b64);
      add_scaled(2.0, x, y);
      add_scaled(-0.5, x64, y);
      for (std::size_t i = 0; i < n; ++i) CHECK(y[i] == doctest::Approx(b64[i] + 1.5 * a64[i]));
    }
  }
  detail::force_simd_target("");
}

TEST_CASE("a sum and the product that follows have the bits of two passes, on every target") {
  for (const std::string_view target : detail::simd_targets()) {
    CAPTURE(target);
    detail::force_simd_target(target);
    for (const std::size_t n : std::initializer_list<std::size_t>{0, 1, 15, 16, 33, 100, 5000}) {
      CAPTURE(n);
      const auto x = random_matrix(1, n, 8);
      const auto a = random_matrix(1, n, 9);
      std::vector<float> y = random_matrix(1, n, 10);
      std::vector<float> other = y;
      double expected = 0;
      double size = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const double term = (static_cast<double>(y[i]) + 0.3 * static_cast<double>(x[i])) *
                            static_cast<double>(a[i]);
        expected += term;
        size += std::abs(term);
      }
      const double product = add_scaled_and_dot(0.3F, x, y, a);
      CHECK(std::abs(product - expected) <= 1e-6 * size);
      add_scaled(0.3F, x, std::span(other));
      CHECK(y == other);
      CHECK(dot_in_float(a, other) == product);
    }
  }
  detail::force_simd_target("");
}

TEST_CASE("one score of two classes has the loss and the residuals of two, on every target") {
  for (const std::string_view target : detail::simd_targets()) {
    CAPTURE(target);
    detail::force_simd_target(target);
    for (const std::size_t n : {1U, 7U, 16U, 33U, 96U}) {
      CAPTURE(n);
      std::vector<float> score = random_matrix(n, 1, 5);
      score[0] = 0;
      if (n > 3) score[1] = 90;
      if (n > 3) score[2] = -90;
      std::vector<float> weights(n);
      std::vector<std::int32_t> targets(n);
      for (std::size_t i = 0; i < n; ++i) {
        score[i] *= 4;
        weights[i] = static_cast<float>(i % 3);
        targets[i] = static_cast<std::int32_t>(i / 2 % 2);
      }
      for (const bool weighted : {false, true}) {
        const float* u = weighted ? weights.data() : nullptr;
        PanelMatrix scores = packed(score, n, 1);
        std::vector<float> column(scores.width(0));
        const RowLosses found =
            solver::logistic_residuals(scores, n, targets.data(), u, column.data());
        double loss = 0;
        double sum = 0;
        std::size_t n_correct = 0;
        for (std::size_t i = 0; i < n; ++i) {
          const double own = (targets[i] == 1 ? 1.0 : -1.0) * static_cast<double>(score[i]);
          const double w = u != nullptr ? static_cast<double>(u[i]) : 1.0;
          const double residual = (targets[i] == 1 ? -w : w) / (1 + std::exp(own));
          loss += w * (std::max(-own, 0.0) + std::log1p(std::exp(-std::abs(own))));
          sum += residual;
          n_correct += own >= 0 ? 1 : 0;
          CHECK(static_cast<double>(at(scores, i, 0)) == doctest::Approx(residual).epsilon(1e-5));
        }
        CHECK(found.loss == doctest::Approx(loss).epsilon(1e-5));
        CHECK(found.n_correct == n_correct);
        CHECK(std::abs(static_cast<double>(column[0]) - sum) < 1e-5 * static_cast<double>(n));
      }
    }
  }
  detail::force_simd_target("");
}

TEST_CASE("sums of one score's residuals have the bits of three passes, on every target") {
  for (const std::string_view target : detail::simd_targets()) {
    CAPTURE(target);
    detail::force_simd_target(target);
    for (const std::size_t n : std::initializer_list<std::size_t>{1, 8, 37, 243, 300}) {
      for (const std::size_t d : std::initializer_list<std::size_t>{1, 47, 48, 130, 600, 1300}) {
        CAPTURE(n);
        CAPTURE(d);
        const PanelMatrix rows = packed(random_matrix(n, d, 11), n, d);
        const PanelMatrix score_weights = packed(random_matrix(1, d, 12), 1, d);
        std::vector<float> weights(n);
        std::vector<std::int32_t> targets(n);
        for (std::size_t i = 0; i < n; ++i) {
          weights[i] = static_cast<float>(i % 3);
          targets[i] = static_cast<std::int32_t>(i / 2 % 2);
        }
        for (const bool weighted : {false, true}) {
          const float* u = weighted ? weights.data() : nullptr;
          PanelMatrix scores(n, 1);
          const std::vector<float> bias(scores.width(0), 0.25F);
          std::vector<float> column(scores.width(0));
          std::vector<double> sum(panel_sums(1, rows), 0.5);
          multiply_transposed(rows, score_weights, 0, bias.data(), n, scores);
          const RowLosses losses =
              solver::logistic_residuals(scores, n, targets.data(), u, column.data());
          accumulate_transposed(scores, rows, n, sum.data());

          PanelMatrix part(1, d);
          float own_column = 0;
          std::vector<double> own_sum(panel_sums(1, rows), 0.5);
          const RowLosses own =
              solver::logistic_sums(rows, n, score_weights, 0.25F, targets.data(), u, &own_column,
                                    part.panel(0), own_sum.data());
          CHECK(own.loss == losses.loss);
          CHECK(own.n_correct == losses.n_correct);
          CHECK(own_sum == sum);
          CHECK(std::abs(own_column - column[0]) < 1e-6F * static_cast<float>(n));
        }
      }
    }
  }
  detail::force_simd_target("");
}

TEST_CASE("residuals of rows that are told apart with certainty are no subnormal numbers") {
  const auto is_normal = [](float value) { return value == 0 || std::isnormal(value); };
  for (const std::string_view target : detail::simd_targets()) {
    CAPTURE(target);
    detail::force_simd_target(target);
    for (const std::size_t k : std::initializer_list<std::size_t>{3, 40}) {
      constexpr std::size_t n = 40;
      std::vector<float> score(n * k);
      for (std::size_t i = 0; i < n; ++i)
        score[i * k + i % k] = 40.0F + 2.0F * static_cast<float>(i);
      PanelMatrix scores(n, k);
      for (std::size_t g = 0; g < scores.n_panels(); ++g) {
        std::fill_n(scores.panel(g), n * scores.width(g), solver::kPaddingScore);
      }
      for (std::size_t i = 0; i < n; ++i) {
        scores.set_row(i, std::span<const float>(score).subspan(i * k, k));
      }
      const std::vector<std::int32_t> targets(n, 1);
      std::vector<float> column(scores.n_panels() * scores.panel_width());
      const RowLosses found =
          solver::softmax_residuals(scores, n, targets.data(), nullptr, column.data());
      CHECK(found.loss > 0);
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t c = 0; c < k; ++c) CHECK(is_normal(at(scores, i, c)));
      }
    }
    PanelMatrix scores(4, 1);
    std::vector<float> column(scores.width(0));
    const std::vector<float> score{-90.0F, 90.0F, 100.0F, 1.0F};
    for (std::size_t i = 0; i < 4; ++i) scores.set_row(i, std::span(score).subspan(i, 1));
    const std::vector<std::int32_t> targets{0, 1, 0, 1};
    const RowLosses found =
        solver::logistic_residuals(scores, 4, targets.data(), nullptr, column.data());
    CHECK(found.loss == doctest::Approx(100.3133).epsilon(1e-5));
    for (std::size_t i = 0; i < 4; ++i) CHECK(is_normal(at(scores, i, 0)));
  }
  detail::force_simd_target("");
}

TEST_CASE("the preconditioner is an inverse, with the same bits for any number of threads") {
  for (const std::size_t d : std::initializer_list<std::size_t>{1, 3, 48, 49, 130, 700}) {
    CAPTURE(d);
    constexpr std::size_t k = 3;
    const auto m = random_matrix(d, d, 7);
    FeatureMoments moments;
    moments.mean.resize(d);
    moments.gram = LowerTriangle(d);
    moments.variance = 1;
    for (std::size_t i = 0; i < d; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        const std::span<const float> x(m.data() + i * d, d);
        moments.gram(i, j) = dot(x, std::span<const float>(m.data() + j * d, d));
      }
    }
    const double curvature = 0.5;
    const double l2 = 0.3;
    const Preconditioner one(moments, curvature, l2, nullptr, {});
    ThreadPool pool(3);
    const Preconditioner three(moments, curvature, l2, &pool, {});
    const auto g = random_matrix(1, k * (d + 1), 8);
    std::vector<float> v(g);
    std::vector<float> other(v);
    std::vector<float> alone(v);
    const double square = one.apply(v, g, k, nullptr);
    CHECK(three.apply(other, g, k, &pool) == square);
    CHECK(other == v);
    CHECK(one.apply(alone, {}, k, nullptr) == 0.0);
    CHECK(alone == v);
    // A times the result is what it was, and the square is g * A^-1 * g.
    double worst = 0;
    for (std::size_t c = 0; c < k; ++c) {
      for (std::size_t i = 0; i < d; ++i) {
        double product = l2 * static_cast<double>(v[c * d + i]);
        for (std::size_t j = 0; j < d; ++j) {
          const double entry = moments.gram(std::max(i, j), std::min(i, j));
          product += curvature * entry * static_cast<double>(v[c * d + j]);
        }
        worst = std::max(worst, std::abs(product - static_cast<double>(g[c * d + i])));
      }
      CHECK(v[k * d + c] == 2 * g[k * d + c]);
    }
    CHECK(worst < 1e-3);
    CHECK(square ==
          doctest::Approx(dot(std::span<const float>(g), std::span<const float>(v))).epsilon(1e-4));
  }
}

TEST_CASE("moments by curvature have a centre for each score, and the metric its inverse there") {
  constexpr std::size_t n = 700;
  constexpr std::size_t d = 53;
  constexpr std::size_t k = 4;
  const auto x = random_matrix(n, d, 9);
  const auto drawn = random_matrix(n, k, 10);
  std::vector<float> weights(n);
  for (std::size_t i = 0; i < n; ++i) weights[i] = static_cast<float>(1 + i % 3);
  const RowsView view{.data = x.data(), .cols = d, .stride = d, .rows = nullptr};
  const FeatureMoments plain = feature_moments(view, n, weights.data(), nullptr, {});
  FeatureMoments later = feature_moments(view, n, weights.data(), nullptr, {}, false);
  CHECK(later.gram.empty());
  add_gram(later, view, n, weights.data(), nullptr, {});
  CHECK(later.gram == plain.gram);
  CHECK(later.variance == plain.variance);
  // No row bends the loss in the last score.
  const auto curvature_of = [&](std::size_t i, std::size_t c) {
    return c + 1 < k ? 0.1F * std::abs(drawn[i * k + c]) : 0.0F;
  };
  const auto moments = [&](ThreadPool* pool) {
    BendingRows rows(view, n, k, plain, pool);
    return curved_moments(view, n, weights, plain,
                          rows.curvature([&](std::size_t i, std::size_t c) {
                            return weights[i] * curvature_of(i, c);
                          }),
                          {}, {.n_scores = k, .least = 1e-6}, pool, {});
  };
  const CurvedMoments found = moments(nullptr);
  ThreadPool pool(3);
  CHECK(moments(&pool).centres == found.centres);
  double total = 0;
  double mass = 0;
  for (std::size_t c = 0; c < k; ++c) {
    std::vector<double> sum(d);
    double own = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double w = static_cast<double>(weights[i]) * static_cast<double>(curvature_of(i, c));
      own += w;
      for (std::size_t j = 0; j < d; ++j) {
        sum[j] += w * static_cast<double>(x[i * d + j] - plain.mean[j]);
      }
    }
    for (std::size_t j = 0; j < d; ++j) {
      const double expected = own > 0 ? sum[j] / own : 0.0;
      CHECK(std::abs(static_cast<double>(found.centres[c * d + j]) - expected) < 1e-5);
    }
    mass += own / static_cast<double>(k);
  }
  for (const float w : weights) total += static_cast<double>(w);
  CHECK(found.curvature == doctest::Approx(mass / total).epsilon(1e-5));

  // A block is [A + s m m^T, s m; s m^T, s] for weights and bias, s the curvature, m the centre.
  const double l2 = 0.01;
  const Preconditioner metric(view, found, l2, nullptr, {});
  const auto g = random_matrix(1, k * (d + 1), 11);
  std::vector<float> v(g);
  const double square = metric.apply(v, g, k, nullptr);
  double worst = 0;
  for (std::size_t c = 0; c < k; ++c) {
    const float* m = found.centres.data() + c * d;
    auto score = static_cast<double>(v[k * d + c]);  // at the centre
    for (std::size_t j = 0; j < d; ++j) {
      score += static_cast<double>(m[j]) * static_cast<double>(v[c * d + j]);
    }
    for (std::size_t i = 0; i < d; ++i) {
      double product = l2 * static_cast<double>(v[c * d + i]);
      for (std::size_t j = 0; j < d; ++j) {
        const double entry = found.moments.gram(std::max(i, j), std::min(i, j));
        product += found.curvature * entry * static_cast<double>(v[c * d + j]);
      }
      product += found.curvature * static_cast<double>(m[i]) * score;
      worst = std::max(worst, std::abs(product - static_cast<double>(g[c * d + i])));
    }
    worst = std::max(worst, std::abs(found.curvature * score - static_cast<double>(g[k * d + c])));
  }
  CHECK(worst < 1e-4);
  CHECK(square ==
        doctest::Approx(dot(std::span<const float>(g), std::span<const float>(v))).epsilon(1e-4));
}

TEST_CASE("a singular Gram matrix without a penalty still has a preconditioner") {
  FeatureMoments moments;
  moments.mean.resize(60);
  moments.gram = LowerTriangle(60);
  for (double& value : moments.gram.values()) value = 1.0;
  moments.variance = 1;
  const Preconditioner found(moments, 0.5, 0.0, nullptr, {});
  std::vector<float> v(61, 1.0F);
  CHECK(std::isfinite(found.apply(v, std::vector<float>(61, 1.0F), 1, nullptr)));
  CHECK(std::isfinite(dot(std::span<const float>(v), std::span<const float>(v))));
}
