// The curvature of single rows in a metric, against dense matrices in float64.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "bending_rows.hpp"
#include "eyespot/preconditioner.hpp"
#include "eyespot/softmax_regression.hpp"
#include "solver/active_rows.hpp"

using eyespot::CurvedForm;
using eyespot::CurvedMoments;
using eyespot::FeatureMoments;
using eyespot::Preconditioner;
using eyespot::RowsView;
using eyespot::ScoreCurvatures;
using eyespot::ThreadPool;
using eyespot::solver::RowFactor;

namespace {

std::vector<float> normal(std::size_t n, std::uint32_t seed, float scale = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> draw(0, scale);
  std::vector<float> out(n);
  for (float& value : out) value = draw(engine);
  return out;
}

// Rows of probabilities; the larger the scores, the more certain.
std::vector<float> probabilities(std::size_t n, std::size_t k, float scale, std::uint32_t seed) {
  std::vector<float> p = normal(n * k, seed, scale);
  for (std::size_t i = 0; i < n; ++i) {
    float* row = p.data() + i * k;
    const float top = *std::max_element(row, row + k);
    float sum = 0;
    for (std::size_t c = 0; c < k; ++c) sum += row[c] = std::exp(row[c] - top);
    for (std::size_t c = 0; c < k; ++c) row[c] /= sum;
  }
  return p;
}

// Rows of features that are not centred, with weights, and what the loss is like at some point.
struct Data {
  std::size_t n;
  std::size_t d;
  std::size_t k;
  bool coupled;
  std::vector<float> x;
  std::vector<float> weights;
  std::vector<float> values;

  Data(std::size_t rows, std::size_t features, std::size_t scores, bool of_classes)
      : n(rows),
        d(features),
        k(scores),
        coupled(of_classes),
        x(normal(n * d, 1)),
        weights(n),
        values(probabilities(n, std::max<std::size_t>(k, 2), 4, 2)) {
    for (float& value : x) value += 0.5F;
    for (std::size_t i = 0; i < n; ++i) weights[i] = static_cast<float>(1 + i % 3);
    if (coupled) return;
    // Two classes as one score.
    for (std::size_t i = 0; i < n; ++i) values[i] = values[2 * i] * values[2 * i + 1];
    values.resize(n);
  }
  [[nodiscard]] RowsView view() const {
    return {.data = x.data(), .cols = d, .stride = d, .rows = nullptr};
  }
  [[nodiscard]] FeatureMoments plain() const {
    return feature_moments(view(), n, weights.data(), nullptr, {}, false);
  }
  [[nodiscard]] ScoreCurvatures curvatures() const {
    return {.of =
                [this](std::span<const std::uint32_t> rows, std::span<float> out) {
                  for (std::size_t i = 0; i < rows.size(); ++i) {
                    std::copy_n(values.data() + rows[i] * k, k, out.data() + i * k);
                  }
                },
            .coupled = coupled};
  }
  [[nodiscard]] CurvedMoments curved(bool with_gram, std::size_t n_vectors,
                                     ThreadPool* pool = nullptr) const {
    const CurvedForm form{
        .n_scores = k, .least = 1e-6, .with_gram = with_gram, .n_vectors = n_vectors};
    const FeatureMoments moments = plain();
    BendingRows rows(view(), n, k, moments, pool);
    const auto bends = [this](std::size_t i, std::size_t c) {
      const float value = values[i * k + c];
      return weights[i] * (coupled ? value * (1 - value) : value);
    };
    return curved_moments(view(), n, weights, moments, rows.curvature(bends), curvatures(), form,
                          pool, {});
  }
};

// What the metric should be the inverse of, times v: the base, and U U^T.
std::vector<double> times(const Data& data, const CurvedMoments& curved, double l2,
                          const std::vector<float>& v) {
  const std::size_t d = data.d;
  const std::size_t k = data.k;
  std::vector<double> out(k * (d + 1), 0.0);
  for (std::size_t c = 0; c < k; ++c) {
    for (std::size_t i = 0; i < d; ++i) {
      double sum = 0;
      if (curved.moments.gram.empty()) {
        sum = curved.rest * curved.moments.variance * static_cast<double>(v[c * d + i]);
      } else {
        for (std::size_t j = 0; j < d; ++j) {
          sum += curved.rest * curved.moments.gram(std::max(i, j), std::min(i, j)) *
                 static_cast<double>(v[c * d + j]);
        }
      }
      out[c * d + i] = sum + l2 * static_cast<double>(v[c * d + i]);
    }
    out[k * d + c] = curved.curvature * static_cast<double>(v[k * d + c]);
  }
  const eyespot::ActiveCurvature& active = curved.active;
  for (std::size_t r = 0; r < active.row_of.size(); ++r) {
    const float* row = data.x.data() + active.rows[active.row_of[r]] * d;
    const float* vector = active.vectors.data() + r * k;
    const auto centred = [&](std::size_t j) {
      return static_cast<double>(row[j]) - static_cast<double>(curved.moments.mean[j]);
    };
    double part = 0;
    for (std::size_t c = 0; c < k; ++c) {
      auto score = static_cast<double>(v[k * d + c]);
      for (std::size_t j = 0; j < d; ++j) score += centred(j) * static_cast<double>(v[c * d + j]);
      part += static_cast<double>(vector[c]) * score;
    }
    for (std::size_t c = 0; c < k; ++c) {
      const double factor = part * static_cast<double>(vector[c]);
      for (std::size_t j = 0; j < d; ++j) out[c * d + j] += factor * centred(j);
      out[k * d + c] += factor;
    }
  }
  return out;
}

double inner(std::span<const float> a, std::span<const float> b) {
  return eyespot::dot(a, b);
}

}  // namespace

TEST_CASE("the vectors of a row add up to its Hessian, or to a part of it that leaves no less") {
  for (const std::size_t k : {2U, 3U, 5U, 12U, 100U}) {
    CAPTURE(k);
    const std::vector<float> p = probabilities(20, k, 2, 3);
    RowFactor factor(k, true);
    for (std::size_t i = 0; i < 20; ++i) {
      const auto row = std::span<const float>(p).subspan(i * k, k);
      factor.set(row);
      CHECK(factor.size() <= std::min<std::size_t>(RowFactor::kMost, k - 1));
      double trace = 0;
      double taken = 0;
      for (std::size_t a = 0; a < k; ++a) {
        for (std::size_t b = 0; b < k; ++b) {
          double rest = -static_cast<double>(row[a]) * static_cast<double>(row[b]);
          if (a == b) rest += static_cast<double>(row[a]);
          if (a == b) trace += rest;
          for (std::size_t j = 0; j < factor.size(); ++j) {
            rest -=
                static_cast<double>(factor.vector(j)[a]) * static_cast<double>(factor.vector(j)[b]);
          }
          if (k <= RowFactor::kMost + 1) CHECK(std::abs(rest) < 1e-5);
          if (a == b) CHECK(rest > -1e-6);
        }
      }
      for (std::size_t j = 0; j < factor.size(); ++j) {
        const auto vector = factor.vector(j);
        CHECK(static_cast<double>(factor.square(j)) ==
              doctest::Approx(inner(vector, vector)).epsilon(1e-5));
        taken += static_cast<double>(factor.square(j));
      }
      CHECK(taken <= trace * (1 + 1e-4));
      CHECK(taken > 0.25 * trace);
    }
  }
  RowFactor certain(3, true);
  certain.set(std::vector<float>{0, 1, 0});
  CHECK(certain.size() == 0);
  RowFactor undecided(3, true);
  undecided.set(std::vector<float>{0.5F, 0.5F, 0});
  CHECK(undecided.square(0) == doctest::Approx(0.5));
  CHECK((undecided.size() == 1 || undecided.square(1) < 1e-6F));
  RowFactor alone(1, false);
  alone.set(std::vector<float>{0.21F});
  REQUIRE(alone.size() == 1);
  CHECK(alone.square(0) == doctest::Approx(0.21));
}

TEST_CASE("a metric with active rows is the inverse of its base and their curvature") {
  for (const bool with_gram : {false, true}) {
    for (const std::size_t k : {1U, 3U, 13U}) {
      CAPTURE(with_gram);
      CAPTURE(k);
      const Data data(230, 53, k, k > 1);
      const double l2 = 0.02;
      const CurvedMoments curved = data.curved(with_gram, 150);
      REQUIRE(!curved.active.rows.empty());
      CHECK(curved.centres.empty());
      const Preconditioner metric(data.view(), curved, l2, nullptr, {});
      const std::vector<float> g = normal(k * (data.d + 1), 4);
      std::vector<float> v(g);
      const double square = metric.apply(v, g, k, nullptr);
      const std::vector<double> product = times(data, curved, l2, v);
      double worst = 0;
      for (std::size_t j = 0; j < g.size(); ++j) {
        worst = std::max(worst, std::abs(product[j] - static_cast<double>(g[j])));
      }
      CHECK(worst < 2e-3);
      CHECK(square == doctest::Approx(inner(g, v)).epsilon(1e-3));

      // The same bits for three threads, and without a second gradient.
      ThreadPool pool(3);
      const CurvedMoments again = data.curved(with_gram, 150, &pool);
      CHECK(again.active.rows == curved.active.rows);
      CHECK(again.active.vectors == curved.active.vectors);
      const Preconditioner other(data.view(), again, l2, &pool, {});
      std::vector<float> w(g);
      CHECK(other.apply(w, g, k, &pool) == square);
      CHECK(w == v);
      std::vector<float> single(g);
      CHECK(metric.apply(single, {}, k, nullptr) == 0.0);
      worst = 0;
      for (std::size_t j = 0; j < g.size(); ++j) {
        worst = std::max(worst, std::abs(static_cast<double>(single[j] - v[j])));
      }
      CHECK(worst < 1e-4);
    }
  }
}

TEST_CASE("active rows are those that bend the loss most, and there are none where all do") {
  Data data(400, 20, 3, true);
  // All rows are undecided, so 60 vectors of 800 are not most.
  std::ranges::fill(data.values, 1.0F / 3);
  CHECK(data.curved(false, 60).active.rows.empty());
  CHECK(data.curved(true, 60).centres.size() == 3 * 20);
  // All but thirty are told apart with certainty.
  for (std::size_t i = 0; i < data.n; ++i) {
    if (i % 13 == 5) continue;
    std::ranges::copy(std::vector<float>{0.0001F, 0.0001F, 0.9998F},
                      data.values.begin() + static_cast<std::ptrdiff_t>(3 * i));
  }
  const CurvedMoments curved = data.curved(false, 62);
  CHECK(curved.active.rows.size() == 31);
  CHECK(curved.active.row_of.size() == 62);
  CHECK(std::ranges::all_of(curved.active.rows, [](std::uint32_t i) { return i % 13 == 5; }));
  CHECK(std::ranges::is_sorted(curved.active.row_of));
  CHECK(curved.rest < 0.05 * curved.curvature);
  CHECK(curved.rest > 0);
  CHECK(data.curved(false, 0).active.rows.empty());
}

TEST_CASE("a penalty that float32 cannot tell beside the active rows leaves a direction to go") {
  Data data(100, 40, 3, true);
  for (float& value : data.x) value *= 1e3F;
  for (const double l2 : {0.0, 1e-12, 1e-3}) {
    CAPTURE(l2);
    const CurvedMoments curved = data.curved(false, 200);
    REQUIRE(!curved.active.rows.empty());
    const Preconditioner metric(data.view(), curved, l2, nullptr, {});
    const std::vector<float> g = normal(data.k * (data.d + 1), 5);
    std::vector<float> v(g);
    const double square = metric.apply(v, g, 3, nullptr);
    CHECK(std::isfinite(square));
    CHECK(square > 0);
    CHECK(inner(g, v) > 0);
    CHECK(inner(g, v) == doctest::Approx(square).epsilon(0.05));
  }
}

TEST_CASE("with active rows a fit takes fewer evaluations to the same minimum") {
  // Correlated features behind a ReLU, as embeddings are, of classes that can be told apart.
  constexpr std::size_t n = 600;
  constexpr std::size_t d = 400;
  constexpr std::size_t k = 6;
  constexpr std::size_t n_hidden = 40;
  const std::vector<float> centres = normal(k * n_hidden, 6, 0.5F);
  const std::vector<float> mix = normal(n_hidden * d, 7, 0.16F);
  std::vector<float> hidden = normal(n * n_hidden, 8);
  std::vector<float> x = normal(n * d, 9, 0.3F);
  std::vector<std::int32_t> targets(n);
  for (std::size_t i = 0; i < n; ++i) {
    targets[i] = static_cast<std::int32_t>(i % k);
    for (std::size_t h = 0; h < n_hidden; ++h) {
      const float score = hidden[i * n_hidden + h] + centres[i % k * n_hidden + h];
      for (std::size_t j = 0; j < d; ++j) x[i * d + j] += score * mix[h * d + j];
    }
  }
  for (float& value : x) value = std::max(value, 0.0F);
  const eyespot::LabelledRows rows{
      .features = {.data = x.data(), .cols = d, .stride = d, .rows = nullptr},
      .n_rows = n,
      .n_classes = k,
      .targets = targets.data(),
      .weights = nullptr};
  const eyespot::MetricPlan plan = eyespot::metric_plan(n, d, k);
  CHECK(!plan.first.with_gram);
  CHECK(plan.first.n_vectors > 0);
  eyespot::LbfgsOptions options;
  options.gradient_tolerance = 1e-5;
  options.decrease_tolerance = 1e-6;
  const double l2 = 1e-4;
  const auto run = [&](eyespot::LinearFit fit) {
    fit.start({}, {});
    while (fit.step({}) == eyespot::StopReason::running) {
    }
    return fit.progress();
  };
  const eyespot::LinearFit::Progress found =
      run(eyespot::softmax_fit(rows, l2, options, nullptr, {}));
  CHECK(!found.metric_x.empty());
  CHECK(found.minimiser.stop == eyespot::StopReason::converged);

  // The same with the metric for anywhere alone.
  const FeatureMoments moments = feature_moments(rows.features, n, nullptr, nullptr, {}, false);
  eyespot::LinearFit::Problem problem;
  problem.objective = std::make_unique<eyespot::SoftmaxObjective>(rows, moments, l2, nullptr);
  const eyespot::LinearFit::Progress other =
      run(eyespot::LinearFit(std::move(problem), options, nullptr));
  CHECK(other.minimiser.stop == eyespot::StopReason::converged);
  CHECK(found.minimiser.value == doctest::Approx(other.minimiser.value).epsilon(1e-5));
  CHECK(4 * found.minimiser.n_evaluations < 3 * other.minimiser.n_evaluations);
}
