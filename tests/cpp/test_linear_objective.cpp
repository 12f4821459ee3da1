// Scores of blocks of rows, and how the losses of rows bend.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "bending_rows.hpp"
#include "eyespot/error.hpp"
#include "eyespot/softmax_regression.hpp"
#include "matrices.hpp"
#include "runtime/simd.hpp"
#include "solver/linear_blocks.hpp"
#include "solver/loss_kernels.hpp"

using namespace eyespot;

namespace {

RowsView view_of(const std::vector<float>& x, std::size_t d) {
  return {.data = x.data(), .cols = d, .stride = d, .rows = nullptr};
}

// p * (1 - p) of softmax, or of sigmoid for one score, in float64.
std::vector<double> curvatures(std::span<const float> scores) {
  const std::size_t k = scores.size();
  std::vector<double> out(scores.begin(), scores.end());
  const double top = k == 1 ? std::max(out[0], 0.0) : *std::ranges::max_element(out);
  double sum = k == 1 ? std::exp(-top) : 0.0;
  for (double& value : out) sum += value = std::exp(value - top);
  for (double& value : out) value = value / sum * (1 - value / sum);
  return out;
}

TEST_CASE("scores of any number of classes agree with plain sums, on every target") {
  for (const std::string_view target : detail::simd_targets()) {
    CAPTURE(target);
    detail::force_simd_target(target);
    for (const std::size_t d : std::initializer_list<std::size_t>{1, 48, 211, 500}) {
      for (std::size_t k = 1; k <= 108; k += k < 60 ? 1 : 5) {
        CAPTURE(d);
        CAPTURE(k);
        constexpr std::size_t n = 11;
        const std::vector<float> x = random_matrix(n, d, 1);
        const std::vector<float> weights = random_matrix(k, d, 2);
        std::vector<double> bias(k);
        for (std::size_t c = 0; c < k; ++c) bias[c] = static_cast<double>(c);
        solver::LinearScores scores(k, d);
        scores.set(weights, bias, -7.0F);
        PanelMatrix rows(n, d);
        pack_rows(view_of(x, d), 0, n, nullptr, nullptr, rows);
        PanelMatrix out(n, k);
        scores.of(rows, n, out);
        double worst = 0;
        for (std::size_t i = 0; i < n; ++i) {
          for (std::size_t c = 0; c < k; ++c) {
            double expected = bias[c];
            for (std::size_t j = 0; j < d; ++j) {
              expected +=
                  static_cast<double>(x[i * d + j]) * static_cast<double>(weights[c * d + j]);
            }
            worst = std::max(worst, std::abs(expected - static_cast<double>(at(out, i, c))));
          }
          const std::size_t last = out.n_panels() - 1;
          for (std::size_t j = out.used(last); j < out.width(last); ++j) {
            CHECK(out.panel(last)[i * out.width(last) + j] == -7.0F);
          }
        }
        CHECK(worst < 2e-5 * std::sqrt(static_cast<double>(d)));
      }
    }
  }
  detail::force_simd_target("");
}

TEST_CASE(
    "groups of the same height have every row once, in blocks of no more than was asked for") {
  for (std::size_t n = 1; n < 70'000; n += 1 + n / 3) {
    for (const std::size_t rows : std::initializer_list<std::size_t>{8, 96, 288}) {
      for (const std::size_t most : std::initializer_list<std::size_t>{1, 2, 12, 16}) {
        for (const bool nearly : {false, true}) {
          CAPTURE(n);
          CAPTURE(rows);
          CAPTURE(most);
          const solver::RowGroups groups(n, rows, most, nearly);
          CHECK(groups.n_groups() <= most);
          CHECK(groups.block_rows() <= (nearly ? 3 * rows / 2 + 8 : rows));
          std::size_t next = 0;
          std::size_t highest = 0;
          for (std::size_t g = 0; g < groups.n_groups(); ++g) {
            const std::size_t begin = next;
            CHECK(groups.height(g * groups.blocks_per_group()) > 0);
            for (std::size_t b = 0; b < groups.blocks_per_group(); ++b) {
              const std::size_t block = g * groups.blocks_per_group() + b;
              if (groups.height(block) == 0) break;
              CHECK(groups.first(block) == next);
              CHECK(groups.height(block) <= groups.block_rows());
              next += groups.height(block);
            }
            highest = std::max(highest, next - begin);
            if (g + 1 < groups.n_groups()) CHECK(next - begin == highest);
          }
          CHECK(next == n);
        }
      }
    }
  }
}

TEST_CASE("a fit of no rows, or of no features, is refused") {
  const float x = 0;
  const std::int32_t target = 0;
  LabelledRows data{.features = {.data = &x, .cols = 1, .stride = 1, .rows = nullptr},
                    .n_rows = 0,
                    .n_classes = 3,
                    .targets = &target,
                    .weights = nullptr};
  CHECK_THROWS_AS(softmax_fit(data, 0.1, {}, nullptr, {}), Error);
  data.n_rows = 1;
  data.features.cols = 0;
  CHECK_THROWS_AS(softmax_fit(data, 0.1, {}, nullptr, {}), Error);
  CHECK(solver::RowGroups(0, 96, 16, false).n_groups() == 0);
}

TEST_CASE("scores become the curvatures of their losses, on every target") {
  for (const std::string_view target : detail::simd_targets()) {
    CAPTURE(target);
    detail::force_simd_target(target);
    for (const std::size_t k : std::initializer_list<std::size_t>{1, 2, 3, 11, 16, 49, 130}) {
      CAPTURE(k);
      constexpr std::size_t n = 37;
      std::vector<float> score = random_matrix(n, k, 3);
      for (float& value : score) value *= 4;
      // Told apart with certainty: no subnormal numbers, and nothing is not a number.
      for (const std::size_t i : {3U, 20U}) score[i * k] = i == 3 ? 95.0F : 300.0F;
      std::vector<float> weights(n);
      for (std::size_t i = 0; i < n; ++i) weights[i] = static_cast<float>(i % 3);
      for (const bool weighted : {false, true}) {
        PanelMatrix scores(n, k);
        for (std::size_t g = 0; g < scores.n_panels(); ++g) {
          std::fill_n(scores.panel(g), n * scores.width(g), solver::kPaddingScore);
        }
        for (std::size_t i = 0; i < n; ++i) {
          scores.set_row(i, std::span<const float>(score).subspan(i * k, k));
        }
        std::vector<float> column(scores.n_panels() * scores.panel_width(), 1.0F);
        std::vector<float> means(n, -1.0F);
        (k == 1 ? solver::logistic_curvatures : solver::softmax_curvatures)(
            scores, n, weighted ? weights.data() : nullptr, column.data(), means.data());
        std::vector<double> sums(k, 1.0);
        for (std::size_t i = 0; i < n; ++i) {
          const std::vector<double> expected =
              curvatures(std::span<const float>(score).subspan(i * k, k));
          double mean = 0;
          for (std::size_t c = 0; c < k; ++c) {
            const double own = (weighted ? static_cast<double>(weights[i]) : 1.0) * expected[c];
            const float found = at(scores, i, c);
            CHECK(std::abs(static_cast<double>(found) - own) < 1e-6);
            CHECK((found == 0 || std::isnormal(found)));
            sums[c] += own;
            mean += own / static_cast<double>(k);
          }
          CHECK(std::abs(static_cast<double>(means[i]) - mean) < 1e-6);
        }
        for (std::size_t c = 0; c < k; ++c) {
          CHECK(static_cast<double>(column[c]) == doctest::Approx(sums[c]).epsilon(1e-5));
        }
      }
    }
  }
  detail::force_simd_target("");
}

TEST_CASE("the gradient of hundreds of classes is that of float64") {
  constexpr std::size_t n = 320;
  constexpr std::size_t d = 60;
  constexpr std::size_t k = 1000;
  const double l2 = 0.05;
  const std::vector<float> x = random_matrix(n, d, 6);
  std::vector<std::int32_t> targets(n);
  for (std::size_t i = 0; i < n; ++i) targets[i] = static_cast<std::int32_t>(i * 7 % k);
  const LabelledRows data{.features = view_of(x, d),
                          .n_rows = n,
                          .n_classes = k,
                          .targets = targets.data(),
                          .weights = nullptr};
  const FeatureMoments moments = feature_moments(data.features, n, nullptr, nullptr, {}, false);
  SoftmaxObjective objective(data, moments, l2, nullptr);
  std::vector<double> at_x(objective.size());
  for (std::size_t j = 0; j < at_x.size(); ++j) {
    at_x[j] = static_cast<double>(static_cast<float>(0.3 * std::sin(static_cast<double>(j))));
  }
  std::vector<double> found(at_x.size());
  const Evaluation evaluation = objective.evaluate(at_x, found, {});
  std::vector<double> expected(at_x.size());
  for (std::size_t j = 0; j < k * d; ++j) expected[j] = l2 * at_x[j];
  double loss = 0;
  for (const double w : std::span(at_x).first(k * d)) loss += 0.5 * l2 * w * w;
  std::vector<double> row(d);
  std::vector<double> p(k);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < d; ++j) {
      row[j] = static_cast<double>(x[i * d + j]) - static_cast<double>(moments.mean[j]);
    }
    double sum = 0;
    for (std::size_t c = 0; c < k; ++c) {
      double score = at_x[k * d + c];
      for (std::size_t j = 0; j < d; ++j) score += at_x[c * d + j] * row[j];
      sum += p[c] = std::exp(score);
    }
    const auto target = static_cast<std::size_t>(targets[i]);
    loss -= std::log(p[target] / sum) / n;
    for (std::size_t c = 0; c < k; ++c) {
      const double residual = (p[c] / sum - (c == target ? 1.0 : 0.0)) / n;
      for (std::size_t j = 0; j < d; ++j) expected[c * d + j] += residual * row[j];
      expected[k * d + c] += residual;
    }
  }
  CHECK(evaluation.value == doctest::Approx(loss).epsilon(1e-6));
  double worst = 0;
  for (std::size_t j = 0; j < found.size(); ++j) {
    worst = std::max(worst, std::abs(found[j] - expected[j]));
  }
  CHECK(worst < 1e-7);
}

TEST_CASE("two classes have the gradient of float64, in one pass over the rows or in three") {
  constexpr std::size_t n = 700;
  const double l2 = 0.05;
  for (const std::size_t d : std::initializer_list<std::size_t>{30, 700, 900}) {
    CAPTURE(d);
    const std::vector<float> x = random_matrix(n, d, 8);
    std::vector<std::int32_t> targets(n);
    std::vector<float> weights(n);
    for (std::size_t i = 0; i < n; ++i) {
      targets[i] = static_cast<std::int32_t>(i / 3 % 2);
      weights[i] = static_cast<float>(i % 3);  // with that of the last row, 1 in the mean
    }
    weights[n - 1] = 1;
    const LabelledRows data{.features = view_of(x, d),
                            .n_rows = n,
                            .n_classes = 2,
                            .targets = targets.data(),
                            .weights = weights.data()};
    const FeatureMoments moments =
        feature_moments(data.features, n, data.weights, nullptr, {}, false);
    SoftmaxObjective objective(data, moments, l2, nullptr);
    REQUIRE(objective.size() == d + 1);
    std::vector<double> at_x(d + 1);
    for (std::size_t j = 0; j <= d; ++j) {
      at_x[j] = static_cast<double>(static_cast<float>(0.1 * std::sin(static_cast<double>(j))));
    }
    std::vector<double> found(d + 1);
    const Evaluation evaluation = objective.evaluate(at_x, found, {});

    const double penalty = l2 * objective.penalty_share();
    double loss = 0;
    std::vector<double> expected(d + 1);
    for (std::size_t j = 0; j < d; ++j) {
      loss += 0.5 * penalty * at_x[j] * at_x[j];
      expected[j] = penalty * at_x[j];
    }
    for (std::size_t i = 0; i < n; ++i) {
      double score = at_x[d];
      const auto centred = [&](std::size_t j) {
        return static_cast<double>(x[i * d + j]) - static_cast<double>(moments.mean[j]);
      };
      for (std::size_t j = 0; j < d; ++j) score += at_x[j] * centred(j);
      const double sign = targets[i] == 1 ? 1 : -1;
      const double weight = static_cast<double>(weights[i]) / n;
      loss += weight * std::log1p(std::exp(-sign * score));
      const double residual = -sign * weight / (1 + std::exp(sign * score));
      for (std::size_t j = 0; j < d; ++j) expected[j] += residual * centred(j);
      expected[d] += residual;
    }
    CHECK(evaluation.value == doctest::Approx(loss).epsilon(1e-6));
    double worst = 0;
    for (std::size_t j = 0; j <= d; ++j) {
      worst = std::max(worst, std::abs(found[j] - expected[j]));
    }
    CHECK(worst < 1e-6);

    ThreadPool pool(3);
    SoftmaxObjective shared(data, moments, l2, &pool);
    std::vector<double> other(d + 1);
    CHECK(shared.evaluate(at_x, other, {}).value == evaluation.value);
    CHECK(other == found);
    CHECK(shared.n_correct() == objective.n_correct());
  }
}

TEST_CASE("an objective's metric at a point is that of its rows' curvatures there") {
  constexpr std::size_t n = 900;
  constexpr std::size_t d = 60;
  const double l2 = 0.01;
  const std::vector<float> x = random_matrix(n, d, 4);
  std::vector<float> weights(n);
  for (std::size_t i = 0; i < n; ++i) weights[i] = static_cast<float>(1 + i % 3);
  // Every other row, from the last on.
  std::vector<std::uint32_t> list;
  for (std::size_t i = n; i > 0; i -= 2) list.push_back(static_cast<std::uint32_t>(i - 1));
  for (const std::size_t k : std::initializer_list<std::size_t>{2, 5, 70}) {
    for (const std::size_t n_vectors : std::initializer_list<std::size_t>{0, 440}) {
      CAPTURE(k);
      CAPTURE(n_vectors);
      std::vector<std::int32_t> targets(n);
      for (std::size_t i = 0; i < n; ++i) targets[i] = static_cast<std::int32_t>(i % k);
      LabelledRows data{.features = view_of(x, d),
                        .n_rows = list.size(),
                        .n_classes = k,
                        .targets = targets.data(),
                        .weights = weights.data()};
      data.features.rows = list.data();
      const FeatureMoments moments =
          feature_moments(data.features, data.n_rows, data.weights, nullptr, {}, false);
      SoftmaxObjective objective(data, moments, l2, nullptr);
      const std::size_t n_scores = objective.n_scores();
      std::vector<double> at_x(objective.size());
      for (std::size_t j = 0; j < at_x.size(); ++j)
        at_x[j] = 0.4 * std::sin(static_cast<double>(j));
      const MetricKind kind{.with_gram = true, .n_vectors = n_vectors};
      const auto found = objective.metric(at_x, kind, {});
      REQUIRE(found != nullptr);

      std::vector<float> own_weights(k * d);
      std::vector<double> bias(k);
      objective.solution(at_x, own_weights, bias);
      std::vector<float> p(list.size() * k);
      softmax_probabilities(data.features, list.size(), own_weights, bias, p, nullptr, {});
      const std::vector<float> unit = mean_one_weights(data.features, data.n_rows, data.weights);
      BendingRows rows(data.features, data.n_rows, n_scores, moments, nullptr);
      const LossCurvature bends = rows.curvature([&](std::size_t i, std::size_t c) {
        const float value = p[i * k + c];
        return unit[i] * value * (1 - value);
      });
      const ScoreCurvatures single{
          .of =
              [&](std::span<const std::uint32_t> some, std::span<float> values) {
                for (std::size_t i = 0; i < some.size(); ++i) {
                  const std::size_t place = (n - 1 - some[i]) / 2;
                  for (std::size_t c = 0; c < n_scores; ++c) {
                    const float value = p[place * k + c];
                    values[i * n_scores + c] = k == 2 ? value * (1 - value) : value;
                  }
                }
              },
          .coupled = k != 2};
      const CurvedMoments curved = curved_moments(
          data.features, data.n_rows, unit, moments, bends, single,
          {.n_scores = n_scores, .least = 1e-9, .n_vectors = n_vectors}, nullptr, {});
      const Preconditioner expected(data.features, curved, objective.penalty_share() * l2, nullptr,
                                    {});
      const std::vector<float> g = random_matrix(1, objective.size(), 5);
      std::vector<float> v(g);
      std::vector<float> w(g);
      const double square = found->apply(v, g, n_scores, nullptr);
      CHECK(square == doctest::Approx(expected.apply(w, g, n_scores, nullptr)).epsilon(1e-3));
      double size = 0;
      double difference = 0;
      for (std::size_t j = 0; j < v.size(); ++j) {
        size = std::max(size, std::abs(static_cast<double>(w[j])));
        difference = std::max(difference, std::abs(static_cast<double>(v[j] - w[j])));
      }
      CHECK(difference < 1e-3 * size);

      // The same bits for three threads, and where a pass has been at another point.
      ThreadPool pool(3);
      SoftmaxObjective other(data, moments, l2, &pool);
      std::vector<double> gradient(other.size());
      static_cast<void>(other.evaluate(other.start(), gradient, {}));
      std::vector<float> again(g);
      CHECK(other.metric(at_x, kind, {})->apply(again, g, n_scores, &pool) == square);
      CHECK(again == v);
    }
  }
}

}  // namespace
