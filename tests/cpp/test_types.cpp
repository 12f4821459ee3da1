#include <doctest/doctest.h>

#include <limits>

#include "eyespot/error.hpp"
#include "eyespot/types.hpp"

using namespace eyespot;

TEST_CASE("an error joins its source and its message") {
  const Error error(ErrorCode::corrupt_image, "cat.jpg", "ends after 3 bytes");
  CHECK(error.what() == doctest::String("cat.jpg: ends after 3 bytes"));
  CHECK(Error(ErrorCode::io, "", "no source").what() == doctest::String("no source"));
  CHECK(error_code_name(ErrorCode::limit_exceeded) == "limit_exceeded");
}

TEST_CASE("sizes are multiplied and added without wrapping") {
  constexpr auto kMax = std::numeric_limits<std::size_t>::max();
  CHECK(checked_mul(3, 7, "x") == 21);
  CHECK(checked_mul(0, kMax, "x") == 0);
  CHECK_THROWS_AS((void)checked_mul(kMax / 2 + 1, 2, "x"), Error);
  CHECK(checked_add(kMax - 1, 1, "x") == kMax);
  CHECK_THROWS_AS((void)checked_add(kMax, 1, "x"), Error);
  CHECK(pixel_count({0xFFFFFFFF, 0xFFFFFFFF}) == 0xFFFFFFFFull * 0xFFFFFFFFull);
}
