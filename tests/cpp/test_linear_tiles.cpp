#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "eyespot/linalg.hpp"
#include "eyespot/softmax_regression.hpp"
#include "matrices.hpp"
#include "runtime/simd.hpp"
#include "solver/linear_tiles.hpp"

using namespace eyespot;

namespace {

bool have_tiles() {
  const bool have = detail::simd_bfloat16() == detail::Bfloat16::tiles;
  if (!have) MESSAGE("not run: this CPU has no AMX, or may not use it");
  return have;
}

// In units of float32's rounding of the sum of the products' sizes: 2 for the products of parts
// that are left out, 3 for the additions of the six that are not, and what a sum of so many rounds
// away.
double allowed(double sizes, std::size_t n_terms) {
  return sizes * 0x1p-24 * (5 + std::sqrt(static_cast<double>(n_terms)));
}

void check_products(std::size_t n_rows, std::size_t d, std::size_t k) {
  CAPTURE(n_rows);
  CAPTURE(d);
  CAPTURE(k);
  const auto data = random_matrix(n_rows + 2, d + 3, 1);
  const auto mean = random_matrix(1, d, 2);
  const auto weights = random_matrix(k, d, 3);
  std::vector<std::uint32_t> order(n_rows + 1);
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<std::uint32_t>((i * 7 + 3) % (n_rows + 2));
  }
  const RowsView view{.data = data.data(), .cols = d, .stride = d + 3, .rows = order.data()};
  const auto x = [&](std::size_t i, std::size_t j) {
    return static_cast<double>(view.row(i + 1)[j] - mean[j]);
  };

  PanelMatrix scores(solver::RowTiles::padded(n_rows), k);
  std::vector<float> bias((k + 15) / 16 * 16 + 32, -1e30F);
  std::ranges::copy(random_matrix(1, k, 4), bias.begin());
  solver::WeightTiles right(k, d);
  right.set(weights);
  solver::RowTiles rows(n_rows, d, k);
  rows.set(view, 1, n_rows, mean.data());
  rows.scores(right, bias, scores);
  double worst = 0;
  for (std::size_t i = 0; i < n_rows; ++i) {
    for (std::size_t c = 0; c < k; ++c) {
      auto sum = static_cast<double>(bias[c]);
      double sizes = std::abs(sum);
      for (std::size_t j = 0; j < d; ++j) {
        const double product = x(i, j) * static_cast<double>(weights[c * d + j]);
        sum += product;
        sizes += std::abs(product);
      }
      const double difference = std::abs(static_cast<double>(at(scores, i, c)) - sum);
      worst = std::max(worst, difference / allowed(sizes, d));
    }
  }
  CHECK(worst < 1);

  const auto residuals = random_matrix(n_rows, k, 5);
  for (std::size_t i = 0; i < n_rows; ++i) {
    for (std::size_t c = 0; c < k; ++c) at(scores, i, c) = residuals[i * k + c];
  }
  const PanelMatrix shape(1, d);
  std::vector<double> fresh(panel_sums(k, shape), 1e300);
  rows.accumulate(scores, true, fresh);
  std::vector<double> added(panel_sums(k, shape), 0.5);
  rows.accumulate(scores, false, added);
  worst = 0;
  bool same = true;
  for (std::size_t c = 0; c < k; ++c) {
    for (std::size_t j = 0; j < d; ++j) {
      double sum = 0;
      double sizes = 0;
      for (std::size_t i = 0; i < n_rows; ++i) {
        const double product = static_cast<double>(residuals[i * k + c]) * x(i, j);
        sum += product;
        sizes += std::abs(product);
      }
      const std::size_t place = sum_index(shape, k, c, j);
      worst = std::max(worst, std::abs(fresh[place] - sum) / allowed(sizes, n_rows));
      same = same && added[place] == 0.5 + fresh[place];
    }
  }
  CHECK(worst < 1);
  CHECK(same);
}

}  // namespace

TEST_CASE("products in tiles are as exact as float32's") {
  if (!have_tiles()) return;
  for (const std::size_t n_rows : std::initializer_list<std::size_t>{1, 31, 33, 100}) {
    for (const std::size_t d : std::initializer_list<std::size_t>{1, 17, 48, 70, 333}) {
      for (const std::size_t k : std::initializer_list<std::size_t>{1, 16, 40, 64, 101}) {
        check_products(n_rows, d, k);
      }
    }
  }
  check_products(576, 700, 65);
}

TEST_CASE("a block may be shorter than the one before it") {
  if (!have_tiles()) return;
  constexpr std::size_t d = 50;
  constexpr std::size_t k = 70;
  const auto data = random_matrix(100, d, 1);
  const std::vector<float> mean(d);
  const RowsView view{.data = data.data(), .cols = d, .stride = d, .rows = nullptr};
  const PanelMatrix shape(1, d);
  const auto sums = [&](solver::RowTiles& rows) {
    PanelMatrix scores(solver::RowTiles::padded(100), k);
    for (std::size_t i = 0; i < 100; ++i) {
      for (std::size_t c = 0; c < k; ++c) at(scores, i, c) = static_cast<float>(i + c);
    }
    rows.set(view, 0, 40, mean.data());
    std::vector<double> out(panel_sums(k, shape));
    rows.accumulate(scores, true, out);
    return out;
  };
  solver::RowTiles used(100, d, k);
  PanelMatrix scores(solver::RowTiles::padded(100), k);
  for (std::size_t i = 0; i < 100; ++i) at(scores, i, 3) = 1.0F;
  used.set(view, 0, 100, mean.data());
  std::vector<double> first(panel_sums(k, shape));
  used.accumulate(scores, true, first);
  solver::RowTiles unused(100, d, k);
  CHECK(sums(used) == sums(unused));
}

TEST_CASE("an objective of many classes is the same with tiles and without, for any threads") {
  constexpr std::size_t n = 1500;
  constexpr std::size_t d = 90;
  constexpr std::size_t k = 80;
  const auto x = random_matrix(n, d, 6);
  std::vector<std::int32_t> targets(n);
  for (std::size_t i = 0; i < n; ++i) targets[i] = static_cast<std::int32_t>(i * 31 % k);
  LabelledRows data;
  data.features = {.data = x.data(), .cols = d, .stride = d, .rows = nullptr};
  data.targets = targets.data();
  data.n_rows = n;
  data.n_classes = k;
  const auto drawn = random_matrix(k, d + 1, 7);
  const std::vector<double> at_x(drawn.begin(), drawn.end());
  const auto evaluate = [&](ThreadPool* pool, std::vector<double>& gradient) {
    const FeatureMoments moments = feature_moments(data.features, n, nullptr, nullptr, {}, false);
    SoftmaxObjective objective(data, moments, 0.01, pool);
    gradient.assign(at_x.size(), 0.0);
    static_cast<void>(objective.evaluate(at_x, gradient, {}));  // what is kept must not matter
    return objective.evaluate(at_x, gradient, {}).value;
  };
  std::vector<double> expected;
  detail::force_simd_target("scalar");
  const double value = evaluate(nullptr, expected);
  detail::force_simd_target("");
  std::vector<double> one;
  CHECK(evaluate(nullptr, one) == doctest::Approx(value).epsilon(1e-6));
  for (const std::size_t n_threads : std::initializer_list<std::size_t>{2, 3}) {
    ThreadPool pool(n_threads);
    std::vector<double> other;
    CHECK(evaluate(&pool, other) == evaluate(nullptr, one));
    CHECK(other == one);
  }
  double worst = 0;
  double largest = 0;
  for (std::size_t j = 0; j < one.size(); ++j) {
    worst = std::max(worst, std::abs(one[j] - expected[j]));
    largest = std::max(largest, std::abs(expected[j]));
  }
  CHECK(worst < 1e-5 * largest);
}
