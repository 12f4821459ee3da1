#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "eyespot/error.hpp"
#include "eyespot/runtime.hpp"
#include "eyespot/sigmoid_regression.hpp"

namespace {

using eyespot::FeatureMoments;
using eyespot::MultiLabelRows;
using eyespot::SigmoidObjective;
using eyespot::ThreadPool;

constexpr std::size_t kRows = 500;
constexpr std::size_t kFeatures = 11;
constexpr double kL2 = 0.01;

struct Data {
  std::size_t n_classes;
  std::vector<float> x;
  std::vector<std::uint8_t> labels;
  std::vector<float> weights;
  std::vector<float> positive;

  explicit Data(std::size_t n)
      : n_classes(n), x(kRows * kFeatures), labels(kRows * n), weights(kRows), positive(n) {
    std::uint32_t state = 1;
    const auto next = [&state] {
      state = state * 1664525U + 1013904223U;
      return static_cast<float>(state >> 8U) * 0x1p-24F - 0.5F;
    };
    for (float& value : x) value = 2.0F * next() + 3.0F;
    for (std::uint8_t& label : labels) label = next() > 0.2F ? 1 : 0;
    for (float& weight : weights) weight = 1.0F + next();
    for (float& weight : positive) weight = 2.0F + next();
  }

  [[nodiscard]] MultiLabelRows rows() const {
    return {.features = {.data = x.data(), .cols = kFeatures, .stride = kFeatures, .rows = nullptr},
            .n_rows = kRows,
            .n_classes = n_classes,
            .labels = labels.data(),
            .weights = weights.data(),
            .positive = positive.data(),
            .negative = nullptr};
  }

  [[nodiscard]] FeatureMoments moments() const {
    return eyespot::feature_moments(rows().features, kRows, nullptr, nullptr, {}, false);
  }
};

std::vector<double> somewhere(const SigmoidObjective& objective) {
  std::vector<double> v = objective.start();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] += 0.3 * std::sin(static_cast<double>(i));
  return v;
}

TEST_CASE("the gradient is that of finite differences, the same for any number of threads") {
  for (const std::size_t n_classes : {1U, 5U, 61U}) {  // less than a vector, and several panels
    const Data data(n_classes);
    std::vector<double> expected;
    for (const std::size_t threads : {1U, 2U, 5U}) {
      ThreadPool pool(threads);
      SigmoidObjective objective(data.rows(), data.moments(), kL2, &pool);
      std::vector<double> v = somewhere(objective);
      std::vector<double> gradient(objective.size());
      objective.evaluate(v, gradient, {});
      if (!expected.empty()) {
        CHECK(gradient == expected);
        continue;
      }
      expected = gradient;
      std::vector<double> unused(objective.size());
      for (std::size_t i = 0; i < v.size(); i += 1 + v.size() / 17) {
        constexpr double kStep = 1e-2;
        const double middle = v[i];
        v[i] = middle + kStep;
        const double up = objective.evaluate(v, unused, {}).value;
        v[i] = middle - kStep;
        const double down = objective.evaluate(v, unused, {}).value;
        v[i] = middle;
        CHECK(gradient[i] == doctest::Approx((up - down) / (2 * kStep)).epsilon(0.01).scale(0.05));
      }
    }
  }
}

TEST_CASE("weights of a point lead back to it") {
  const Data data(5);
  SigmoidObjective objective(data.rows(), data.moments(), kL2, nullptr);
  const std::vector<double> v = somewhere(objective);
  std::vector<float> weights(5 * kFeatures);
  std::vector<double> bias(5);
  objective.solution(v, weights, bias);
  const std::vector<double> again = objective.variables(weights, bias);
  for (std::size_t i = 0; i < v.size(); ++i) CHECK(again[i] == doctest::Approx(v[i]).epsilon(1e-4));
}

TEST_CASE("a row list takes labels and weights along") {
  const Data data(5);
  std::vector<std::uint32_t> every(kRows);
  for (std::size_t i = 0; i < kRows; ++i) every[i] = static_cast<std::uint32_t>(kRows - 1 - i);
  MultiLabelRows turned = data.rows();
  turned.features.rows = every.data();
  SigmoidObjective forward(data.rows(), data.moments(), kL2, nullptr);
  SigmoidObjective backward(turned, data.moments(), kL2, nullptr);
  const std::vector<double> v = somewhere(forward);
  std::vector<double> one(v.size());
  std::vector<double> other(v.size());
  CHECK(forward.evaluate(v, one, {}).value ==
        doctest::Approx(backward.evaluate(v, other, {}).value).epsilon(1e-6));
  CHECK(forward.n_correct() == backward.n_correct());
}

TEST_CASE("weights that are no weights are refused") {
  Data data(5);
  data.weights[3] = -1;
  CHECK_THROWS_WITH_AS(SigmoidObjective(data.rows(), data.moments(), kL2, nullptr),
                       doctest::Contains("weights[3]"), eyespot::Error);
  Data other(5);
  other.positive[2] = std::nanf("");
  CHECK_THROWS_WITH_AS(SigmoidObjective(other.rows(), other.moments(), kL2, nullptr),
                       doctest::Contains("positive[2]"), eyespot::Error);
}

}  // namespace
