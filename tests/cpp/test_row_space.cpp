#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "eyespot/runtime.hpp"
#include "eyespot/softmax_regression.hpp"
#include "solver/row_space.hpp"

namespace {

using eyespot::FeatureMoments;
using eyespot::LabelledRows;
using eyespot::LinearFit;
using eyespot::RowsView;
using eyespot::ThreadPool;
using eyespot::solver::RowSpace;

// Rows off the origin, in features of different scales.
struct Data {
  std::size_t n;
  std::size_t d;
  std::size_t k;
  std::vector<float> x;
  std::vector<std::int32_t> targets;

  Data(std::size_t rows, std::size_t features, std::size_t classes)
      : n(rows), d(features), k(classes), x(rows * features), targets(rows) {
    std::uint32_t state = 1;
    const auto next = [&state] {
      state = state * 1664525U + 1013904223U;
      return static_cast<float>(state >> 8U) * 0x1p-24F - 0.5F;
    };
    for (std::size_t i = 0; i < n; ++i) {
      targets[i] = static_cast<std::int32_t>(i % k);
      for (std::size_t j = 0; j < d; ++j) {
        const float scale = 1.0F + static_cast<float>(j % 5);
        x[i * d + j] = scale * (next() + 3.0F + (j % k == i % k ? 0.1F : 0.0F));
      }
    }
  }

  [[nodiscard]] RowsView view() const {
    return {.data = x.data(), .cols = d, .stride = d, .rows = nullptr};
  }
  [[nodiscard]] LabelledRows rows() const {
    return {.features = view(),
            .n_rows = n,
            .n_classes = k,
            .targets = targets.data(),
            .weights = nullptr};
  }
  [[nodiscard]] FeatureMoments moments() const {
    return eyespot::feature_moments(view(), n, nullptr, nullptr, {}, false);
  }
  [[nodiscard]] std::shared_ptr<const RowSpace> space(ThreadPool* pool = nullptr) const {
    return RowSpace::of(view(), n, nullptr, moments(), pool, {});
  }
  [[nodiscard]] double product(std::size_t i, std::size_t j, const std::vector<float>& mean) const {
    double sum = 0;
    for (std::size_t p = 0; p < d; ++p) {
      sum +=
          static_cast<double>(x[i * d + p] - mean[p]) * static_cast<double>(x[j * d + p] - mean[p]);
    }
    return sum;
  }
};

double dot(std::span<const float> a, std::span<const float> b) {
  return eyespot::dot(a, b);
}

// A fit that knows nothing of the space.
LinearFit plain_fit(const Data& data, double l2, const eyespot::LbfgsOptions& options) {
  const FeatureMoments moments = data.moments();
  LinearFit::Problem problem;
  problem.objective =
      std::make_unique<eyespot::SoftmaxObjective>(data.rows(), moments, l2, nullptr);
  return {std::move(problem), options, nullptr};
}

TEST_CASE("centred coordinates have the products of centred rows, at every remainder") {
  for (const std::size_t n : {2U, 7U, 47U, 48U, 49U, 130U, 300U}) {
    CAPTURE(n);
    const Data data(n, 3 * n + 5, 2);
    const auto space = data.space();
    REQUIRE(space != nullptr);
    const std::vector<float> mean = data.moments().mean;
    const RowsView rows = space->rows();
    REQUIRE(rows.cols == n);
    const auto centred = [&](std::size_t i) {
      std::vector<float> row(rows.row(i), rows.row(i) + n);
      for (std::size_t j = 0; j < n; ++j) row[j] -= space->moments().mean[j];
      return row;
    };
    for (std::size_t i = 0; i < n; i += 1 + n / 23) {
      const std::vector<float> row = centred(i);
      const double own = data.product(i, i, mean);
      for (std::size_t j = 0; j <= i; j += 1 + n / 31) {
        CHECK(std::abs(dot(row, centred(j)) - data.product(i, j, mean)) <= 5e-6 * own);
      }
      for (std::size_t j = i + 1; j < n; ++j) CHECK(rows.row(i)[j] == 0);
    }
  }
}

TEST_CASE("weights and coordinates lead to each other, with the same scores and squares") {
  const Data data(100, 321, 2);
  ThreadPool pool(3);
  const auto space = data.space();
  const auto other = data.space(&pool);
  REQUIRE(space != nullptr);
  REQUIRE(other != nullptr);
  CHECK(std::equal(space->rows().data, space->rows().data + data.n * data.n, other->rows().data));
  const std::vector<float> mean = data.moments().mean;
  for (const std::size_t k : {1U, 3U, 40U}) {
    std::vector<float> any(k * data.d);
    for (std::size_t i = 0; i < any.size(); ++i) any[i] = std::sin(static_cast<float>(i));
    const std::vector<float> v = space->coordinates(any, nullptr);
    CHECK(v == other->coordinates(any, &pool));
    const std::vector<float> w = space->weights(v, nullptr);
    CHECK(w == other->weights(v, &pool));
    const std::vector<float> again = space->coordinates(w, nullptr);
    for (std::size_t i = 0; i < v.size(); ++i) CHECK(std::abs(again[i] - v[i]) < 1e-4F);
    for (std::size_t c = 0; c < k; ++c) {
      const std::span<const float> weights(w.data() + c * data.d, data.d);
      const std::span<const float> own(v.data() + c * data.n, data.n);
      CHECK(dot(weights, weights) == doctest::Approx(dot(own, own)).epsilon(1e-5));
      for (std::size_t i = 0; i < data.n; ++i) {
        double score = 0;
        double of_any = 0;  // what does not lie in the space has no score
        for (std::size_t j = 0; j < data.d; ++j) {
          const auto x = static_cast<double>(data.x[i * data.d + j] - mean[j]);
          score += static_cast<double>(weights[j]) * x;
          of_any += static_cast<double>(any[c * data.d + j]) * x;
        }
        CHECK(std::abs(score - of_any) < 5e-4);
        CHECK(std::abs(score - dot(own, {space->rows().row(i), data.n})) < 5e-4);
      }
    }
  }
}

TEST_CASE("the space is left out where it would not pay or not be known") {
  CHECK(Data(100, 300, 2).space() == nullptr);
  CHECK(Data(100, 301, 2).space() != nullptr);
  Data data(40, 200, 2);
  const std::vector<std::uint32_t> list(40, 7);
  RowsView listed = data.view();
  listed.rows = list.data();
  CHECK(RowSpace::of(listed, 40, nullptr, data.moments(), nullptr, {}) == nullptr);
  // Nearly another row: neither that row again nor clearly another one.
  for (std::size_t j = 0; j < data.d; ++j) {
    data.x[5 * data.d + j] = data.x[3 * data.d + j] + (j % 7 == 0 ? 0.01F : 0.0F);
  }
  CHECK(data.space() == nullptr);
  // A sum of others.
  for (std::size_t j = 0; j < data.d; ++j) {
    data.x[5 * data.d + j] = 0.5F * (data.x[3 * data.d + j] + data.x[4 * data.d + j]);
  }
  CHECK(data.space() == nullptr);
  // The very same row.
  std::copy_n(data.x.data() + 3 * data.d, data.d, data.x.data() + 5 * data.d);
  const auto space = data.space();
  REQUIRE(space != nullptr);
  for (std::size_t i = 0; i < data.n; ++i) CHECK(space->rows().row(i)[5] == 0);
  CHECK(std::equal(space->rows().row(3), space->rows().row(4), space->rows().row(5)));
  // No direction at all.
  const Data one(1, 200, 1);
  CHECK(one.space() == nullptr);
  // Products beyond float32.
  for (float& value : data.x) value *= 1e30F;
  CHECK(data.space() == nullptr);
}

TEST_CASE("a fit in the space of the rows ends where one in the space of the features does") {
  const eyespot::LbfgsOptions options{
      .memory = 0, .gradient_tolerance = 1e-6, .decrease_tolerance = 1e-7};
  for (const std::size_t k : {2U, 5U}) {
    for (const double l2 : {10.0, 0.1, 1e-3}) {
      CAPTURE(k);
      CAPTURE(l2);
      const Data data(60, 200, k);
      LinearFit in_space = eyespot::softmax_fit(data.rows(), l2, options, nullptr, {});
      LinearFit plain = plain_fit(data, l2, options);
      const std::size_t scores = k == 2 ? 1 : k;
      CHECK(in_space.size() == scores * (data.n + 1));
      CHECK(plain.size() == scores * (data.d + 1));
      std::vector<std::vector<float>> weights;
      for (LinearFit* fit : {&in_space, &plain}) {
        fit->start({}, {});
        while (fit->progress().minimiser.iteration < 500 &&
               fit->step({}) == eyespot::StopReason::running) {
        }
        std::vector<double> bias(k);
        weights.emplace_back(k * data.d);
        fit->solution(weights.back(), bias);
        // What the minimiser tells is the objective of the weights.
        std::vector<double> x = fit->objective().variables(weights.back(), bias);
        std::vector<double> gradient(x.size());
        const double value = fit->objective().evaluate(x, gradient, {}).value;
        CHECK(value == doctest::Approx(fit->progress().minimiser.value).epsilon(2e-6));
      }
      CHECK(in_space.progress().minimiser.value ==
            doctest::Approx(plain.progress().minimiser.value).epsilon(2e-6));
      const double largest = static_cast<double>(
          std::abs(*std::ranges::max_element(weights[1], {}, [](float w) { return std::abs(w); })));
      for (std::size_t i = 0; i < weights[1].size(); ++i) {
        CHECK(std::abs(weights[0][i] - weights[1][i]) < 5e-3 * largest);
      }
    }
  }
}

}  // namespace
