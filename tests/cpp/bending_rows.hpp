#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "eyespot/linear_objective.hpp"

/// An objective whose rows bend as a test says, at every point.
class BendingRows final : public eyespot::LinearObjective {
 public:
  BendingRows(const eyespot::RowsView& features, std::size_t n_rows, std::size_t n_scores,
              const eyespot::FeatureMoments& moments, eyespot::ThreadPool* pool)
      : LinearObjective(features, n_rows, {.n_classes = n_scores}, moments, 0, pool) {}

  /// Where row i has weight * curvature of(i, c) in score c.
  [[nodiscard]] eyespot::LossCurvature curvature(
      const std::function<float(std::size_t i, std::size_t c)>& of) {
    const Curvatures set = [&](eyespot::PanelMatrix& scores, std::size_t first, std::size_t count,
                               float* column, float* means) {
      std::vector<float> row(n_scores());
      for (std::size_t i = 0; i < count; ++i) {
        float sum = 0;
        for (std::size_t c = 0; c < row.size(); ++c) {
          row[c] = of(first + i, c);
          column[c] += row[c];
          sum += row[c];
        }
        scores.set_row(i, std::span<const float>(row));
        means[i] = sum / static_cast<float>(row.size());
      }
    };
    return loss_curvature(start(), set, true, {});
  }

  [[nodiscard]] std::vector<double> start() const override {
    return std::vector<double>(size(), 0.0);
  }
  [[nodiscard]] std::shared_ptr<const eyespot::Preconditioner> metric(
      std::span<const double> /*x*/, const eyespot::MetricKind& /*kind*/,
      const eyespot::Poll& /*poll*/) override {
    return nullptr;
  }

 private:
  eyespot::RowLosses residuals(eyespot::PanelMatrix& /*scores*/, std::size_t /*first*/,
                               std::size_t /*count*/, float* /*column*/) const override {
    return {};
  }
};
