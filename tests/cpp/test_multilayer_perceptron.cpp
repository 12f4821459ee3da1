#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "eyespot/error.hpp"
#include "eyespot/multilayer_perceptron.hpp"
#include "eyespot/runtime.hpp"

namespace {

using eyespot::LabelledRows;
using eyespot::PerceptronObjective;
using eyespot::ThreadPool;

constexpr std::size_t kRows = 700;
constexpr std::size_t kFeatures = 13;
constexpr std::size_t kClasses = 3;
constexpr std::array<std::size_t, 2> kHidden{20, 7};
constexpr double kL2 = 0.01;

struct Data {
  std::vector<float> x;
  std::vector<std::int32_t> y;

  Data() : x(kRows * kFeatures), y(kRows) {
    std::uint32_t state = 1;
    for (std::size_t i = 0; i < kRows; ++i) {
      float sum = 0;
      for (std::size_t j = 0; j < kFeatures; ++j) {
        state = state * 1664525U + 1013904223U;
        const float value = static_cast<float>(state >> 8U) * 0x1p-24F - 0.5F;
        x[i * kFeatures + j] = static_cast<float>(j + 1) * value + 3.0F;
        sum += value * value;
      }
      y[i] = sum < 1.0F ? 0 : (sum < 1.2F ? 1 : 2);
    }
  }

  [[nodiscard]] LabelledRows rows() const {
    return {.features = {.data = x.data(), .cols = kFeatures, .stride = kFeatures, .rows = nullptr},
            .n_rows = kRows,
            .n_classes = kClasses,
            .targets = y.data(),
            .weights = nullptr};
  }
};

std::vector<double> somewhere(const PerceptronObjective& objective) {
  std::vector<double> v = objective.start(7);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] += 0.1 * std::sin(static_cast<double>(i));
  return v;
}

TEST_CASE("the gradient is that of finite differences, the same for any number of threads") {
  const Data data;
  std::vector<double> expected;
  for (const std::size_t threads : {1U, 2U, 5U}) {
    ThreadPool pool(threads);
    PerceptronObjective objective(data.rows(), eyespot::feature_scaling(data.rows(), &pool, {}),
                                  kHidden, kL2, &pool);
    std::vector<double> v = somewhere(objective);
    std::vector<double> gradient(objective.size());
    objective.evaluate(v, gradient, {});
    if (expected.empty()) expected = gradient;
    CHECK(gradient == expected);
    std::vector<double> unused(objective.size());
    for (std::size_t i = 0; i < v.size(); i += 41) {
      constexpr double kStep = 1e-3;
      const double middle = v[i];
      v[i] = middle + kStep;
      const double up = objective.evaluate(v, unused, {}).value;
      v[i] = middle - kStep;
      const double down = objective.evaluate(v, unused, {}).value;
      v[i] = middle;
      CHECK(gradient[i] == doctest::Approx((up - down) / (2 * kStep)).epsilon(0.02).scale(0.02));
    }
  }
}

TEST_CASE("layers of a point predict what the objective sees, and lead back to it") {
  const Data data;
  PerceptronObjective objective(data.rows(), eyespot::feature_scaling(data.rows(), nullptr, {}),
                                kHidden, kL2, nullptr);
  const std::vector<double> v = somewhere(objective);
  std::vector<double> gradient(objective.size());
  objective.evaluate(v, gradient, {});
  const std::vector<eyespot::Dense> layers = objective.solution(v);
  std::vector<eyespot::DenseView> views;
  views.reserve(layers.size());
  for (const eyespot::Dense& layer : layers) views.push_back({layer.weights, layer.bias});
  const std::vector<double> again = objective.variables(views);
  for (std::size_t i = 0; i < v.size(); ++i) CHECK(again[i] == doctest::Approx(v[i]).epsilon(1e-4));

  std::vector<float> probabilities(kRows * kClasses);
  eyespot::dense_layers(data.rows().features, kRows, views, eyespot::DenseOutput::softmax,
                        probabilities, nullptr, {});
  std::size_t right = 0;
  for (std::size_t i = 0; i < kRows; ++i) {
    const float* p = probabilities.data() + i * kClasses;
    CHECK(p[0] + p[1] + p[2] == doctest::Approx(1.0).epsilon(1e-5));
    const auto target = static_cast<std::size_t>(data.y[i]);
    bool best = true;
    for (std::size_t c = 0; c < kClasses; ++c) best = best && p[c] <= p[target];
    right += best ? 1 : 0;
  }
  CHECK(right == objective.n_correct());
}

TEST_CASE("widths and layers that do not fit are refused") {
  const Data data;
  const std::array<std::size_t, 1> none{0};
  CHECK_THROWS_AS(PerceptronObjective(data.rows(), {}, none, kL2, nullptr), eyespot::Error);
  CHECK_THROWS_AS(PerceptronObjective(data.rows(), {}, {}, kL2, nullptr), eyespot::Error);
  const std::vector<float> weights(8);
  const std::vector<float> bias(2);
  std::vector<float> out(kRows * 2);
  const std::array<eyespot::DenseView, 1> wrong{{{weights, bias}}};
  CHECK_THROWS_AS(eyespot::dense_layers(data.rows().features, kRows, wrong,
                                        eyespot::DenseOutput::linear, out, nullptr, {}),
                  eyespot::Error);
}

}  // namespace
