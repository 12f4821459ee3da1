#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "eyespot/error.hpp"
#include "eyespot/loader.hpp"
#include "eyespot/runtime.hpp"
#include "loader/read_file.hpp"

using namespace eyespot;
namespace fs = std::filesystem;

namespace {

class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_(fs::temp_directory_path() / ("eyespot_loader_" + std::to_string(getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { fs::remove_all(path_); }

  [[nodiscard]] std::string file(const std::string& name) const { return path_ / name; }
  [[nodiscard]] std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return file(name);
  }

 private:
  fs::path path_;
};

// A "decoder" for tests: an item is the number that its text holds; the text may also name an
// error. What it does takes no real image, so the ring can be tested by the hundred thousand.
constexpr std::size_t kItemBytes = sizeof(std::uint64_t);

void decode_text(std::span<const std::uint8_t> bytes, std::string_view source, void* out,
                 std::size_t /*index*/, std::size_t /*worker*/) {
  const std::string text(bytes.begin(), bytes.end());
  const auto fail = [&](ErrorCode code) { throw Error(code, std::string(source), "told to"); };
  if (text == "corrupt") fail(ErrorCode::corrupt_image);
  if (text == "gif") fail(ErrorCode::unsupported_format);
  if (text == "huge") fail(ErrorCode::limit_exceeded);
  if (text == "invalid") fail(ErrorCode::invalid_argument);
  if (text == "memory") throw std::bad_alloc();
  if (text == "crash") throw std::runtime_error("a bug");
  const std::uint64_t value = std::stoull(text);
  std::memcpy(out, &value, sizeof value);
}

ItemDecoder text_decoder() {
  return {
      .item_bytes = kItemBytes,
      .from_bytes = decode_text,
      .from_pixels = [](ImageView image, std::string_view, void* out, std::size_t, std::size_t) {
        const std::uint64_t value = image.size.width;
        std::memcpy(out, &value, sizeof value);
      }};
}

ImageSource bytes_source(const std::string& text) {
  return BytesSource{{reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}};
}

std::vector<ImageSource> bytes_sources(const std::vector<std::string>& texts) {
  std::vector<ImageSource> sources;
  sources.reserve(texts.size());
  for (const std::string& text : texts) sources.push_back(bytes_source(text));
  return sources;
}

std::vector<std::string> numbers(std::size_t count) {
  std::vector<std::string> texts(count);
  for (std::size_t i = 0; i < count; ++i) texts[i] = std::to_string(i);
  return texts;
}

std::uint64_t value_at(const LoadedBatch& batch, std::size_t slot) {
  std::uint64_t value = 0;
  std::memcpy(&value, batch.pixels.data() + slot * kItemBytes, sizeof value);
  return value;
}

// The next batch of a loader that has one.
LoadedBatch take(Loader& loader) {
  auto batch = loader.next();
  if (!batch) throw std::logic_error("the loader has no more batches");
  return *std::move(batch);
}

std::shared_ptr<ThreadPool> pool_of(std::size_t n_threads) {
  return std::make_shared<ThreadPool>(n_threads);
}

}  // namespace

TEST_CASE("batches come in order and hold each item once, whatever the threads and batch sizes") {
  const std::vector<std::string> texts = numbers(1001);
  for (const std::size_t n_threads : {1U, 2U, 5U}) {
    for (const std::size_t batch_size : {1U, 7U, 32U, 5000U}) {
      Loader loader(bytes_sources(texts), text_decoder(), {.batch_size = batch_size},
                    pool_of(n_threads));
      std::size_t seen = 0;
      bool good = true;
      while (const auto batch = loader.next()) {
        good = good && batch->first == seen && batch->errors.empty() && batch->pending.empty();
        good = good && batch->count == std::min(batch_size, texts.size() - seen);
        good = good && reinterpret_cast<std::uintptr_t>(batch->pixels.data()) % 64 == 0;
        for (std::size_t i = 0; i < batch->count; ++i) good = good && value_at(*batch, i) == seen++;
      }
      CHECK(good);
      CHECK(seen == texts.size());
      CHECK_FALSE(loader.next().has_value());
    }
  }
}

TEST_CASE("an empty list gives no batch") {
  Loader loader({}, text_decoder(), {}, pool_of(1));
  CHECK_FALSE(loader.next().has_value());
  CHECK(loader.size() == 0);
}

TEST_CASE("a bad item is a value with its position, name and cause; the others are whole") {
  const std::vector<std::string> texts{"0", "corrupt", "2", "gif", "memory", "5", "huge"};
  Loader loader(bytes_sources(texts), text_decoder(), {.batch_size = 4}, pool_of(2));
  const LoadedBatch first = take(loader);
  REQUIRE(first.errors.size() == 2);
  CHECK(first.errors[0].index == 1);
  CHECK(first.errors[0].code == ErrorCode::corrupt_image);
  CHECK(first.errors[0].source == "<bytes #1>");
  CHECK(first.errors[0].message == "told to");
  CHECK(first.errors[1].index == 3);
  CHECK(first.errors[1].code == ErrorCode::unsupported_format);
  CHECK(value_at(first, 0) == 0);
  CHECK(value_at(first, 2) == 2);
  const LoadedBatch second = take(loader);
  REQUIRE(second.errors.size() == 2);
  CHECK(second.errors[0].index == 4);
  CHECK(second.errors[0].code == ErrorCode::out_of_memory);
  CHECK(second.errors[1].code == ErrorCode::limit_exceeded);
  CHECK(value_at(second, 1) == 5);
  CHECK_FALSE(loader.next().has_value());
}

TEST_CASE("what is not about one item ends the run at its own turn, and stays the answer") {
  for (const char* word : {"crash", "invalid"}) {
    std::vector<std::string> texts = numbers(100);
    texts[57] = word;
    texts[58] = "crash";
    Loader loader(bytes_sources(texts), text_decoder(), {.batch_size = 10}, pool_of(3));
    std::size_t batches = 0;
    std::string message;
    for (int attempt = 0; attempt < 2; ++attempt) {
      try {
        while (loader.next()) ++batches;
      } catch (const std::exception& error) {
        message = error.what();
      }
      CHECK(batches == 5);
      CHECK(message == (word == std::string("crash") ? "a bug" : "<bytes #57>: told to"));
    }
  }
}

TEST_CASE("pixels are handed to the decoder, pending items are left to the caller") {
  const std::vector<std::uint8_t> pixels(30);
  const std::string text = "9";
  const std::vector<ImageSource> sources{
      PixelsSource{{.data = pixels.data(), .size = {5, 2}, .channels = 3, .stride = 15}},
      PendingSource{}, bytes_source(text), PendingSource{}};
  Loader loader(sources, text_decoder(), {.batch_size = 3}, pool_of(2));
  const LoadedBatch first = take(loader);
  CHECK(value_at(first, 0) == 5);
  CHECK(value_at(first, 2) == 9);
  CHECK(first.pending == std::vector<std::size_t>{1});
  const LoadedBatch second = take(loader);  // pending items only: no worker is needed
  CHECK(second.pending == std::vector<std::size_t>{3});
  CHECK_FALSE(loader.next().has_value());
}

TEST_CASE("memory is flat: the ring is used again, however long the list") {
  const std::vector<std::string> texts = numbers(20000);
  Loader loader(bytes_sources(texts), text_decoder(), {.batch_size = 4, .prefetch = 3}, pool_of(4));
  std::optional<LoadedBatch> held;
  std::size_t count = 0;
  while (auto batch = loader.next()) {
    count += batch->count;
    held = std::move(batch);  // as a `for` loop in Python does: two are alive for a moment
  }
  CHECK(count == texts.size());
  CHECK(loader.buffers_allocated() <= 5);
}

TEST_CASE("no more than the window is in work while the caller takes its time") {
  const std::vector<std::string> texts = numbers(1000);
  std::atomic<std::size_t> decoded{0};
  ItemDecoder decoder = text_decoder();
  decoder.from_bytes = [&](auto bytes, auto source, void* out, std::size_t index,
                           std::size_t worker) {
    decode_text(bytes, source, out, index, worker);
    decoded.fetch_add(1);
  };
  Loader loader(bytes_sources(texts), decoder, {.batch_size = 5, .prefetch = 2}, pool_of(2));
  REQUIRE(loader.next().has_value());
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(decoded.load() == 15);
}

TEST_CASE("a batch outlives its loader and its pool") {
  const LoadedBatch batch = [] {
    const std::vector<std::string> texts = numbers(100);
    Loader loader(bytes_sources(texts), text_decoder(), {.batch_size = 10}, pool_of(2));
    (void)take(loader);
    return take(loader);
  }();
  CHECK(value_at(batch, 3) == 13);
}

TEST_CASE("dropping or closing a loader half-way never hangs, and leaves the pool good") {
  const std::vector<std::string> texts = numbers(500);
  ItemDecoder slow = text_decoder();
  slow.from_bytes = [](auto bytes, auto source, void* out, std::size_t index, std::size_t worker) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    decode_text(bytes, source, out, index, worker);
  };
  const auto pool = pool_of(3);
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t taken = 0; taken < 5; ++taken) {
    Loader loader(bytes_sources(texts), slow, {.batch_size = 4, .prefetch = 4}, pool);
    for (std::size_t i = 0; i < taken; ++i) CHECK(loader.next().has_value());
    if (taken % 2 == 0) {
      loader.close();
      loader.close();
      CHECK_FALSE(loader.next().has_value());
    }
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
  std::atomic<int> after{0};
  pool->parallel_for(10, [&](std::size_t, std::size_t) { after.fetch_add(1); });
  CHECK(after.load() == 10);
}

TEST_CASE("the destructor waits for workers that read the caller's memory, and only for those") {
  const TemporaryFolder folder;
  std::atomic<bool> inside{false};
  std::atomic<bool> release{false};
  std::atomic<bool> left{false};
  ItemDecoder stuck = text_decoder();
  stuck.from_bytes = [&](auto, auto, void*, std::size_t, std::size_t) {
    inside = true;
    while (!release.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    left = true;
  };
  const auto start_one = [&](std::vector<ImageSource> sources,
                             const std::shared_ptr<ThreadPool>& pool) {
    inside = false;
    auto loader = std::make_unique<Loader>(std::move(sources), stuck, LoaderOptions{}, pool);
    // A poll that gives up as soon as a worker is at work.
    CHECK_THROWS((void)loader->next([&] {
      if (inside.load()) throw std::runtime_error("enough");
    }));
    return loader;
  };

  const auto pool = pool_of(1);
  auto files = start_one({FileSource{folder.write("a", "1")}}, pool);
  files.reset();  // returns although its worker is still inside
  CHECK_FALSE(left.load());
  release = true;
  pool->parallel_for(1, [](std::size_t, std::size_t) {});
  CHECK(left.load());

  release = false;
  left = false;
  const std::string text = "1";
  auto memory = start_one({bytes_source(text)}, pool);
  release = true;
  memory.reset();
  CHECK(left.load());
}

TEST_CASE("cancel() ends a wait at once, from another thread") {
  const std::vector<std::string> texts = numbers(64);
  std::atomic<bool> release{false};
  ItemDecoder stuck = text_decoder();
  stuck.from_bytes = [&](auto, auto, void*, std::size_t, std::size_t) {
    while (!release.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  CancelToken cancel;
  Loader loader(bytes_sources(texts), stuck, {}, pool_of(2), cancel);
  std::chrono::steady_clock::time_point cancelled;
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    cancelled = std::chrono::steady_clock::now();
    cancel.cancel();
  });
  ErrorCode code = ErrorCode::io;
  try {
    (void)loader.next();
  } catch (const Error& error) {
    code = error.code();
  }
  const auto noticed = std::chrono::steady_clock::now();
  other.join();
  CHECK(code == ErrorCode::cancelled);
  CHECK(noticed - cancelled < std::chrono::milliseconds(100));
  CHECK_THROWS_AS((void)loader.next(), Error);
  release = true;
}

TEST_CASE("what poll throws comes out of next(), and next() goes on after it") {
  const std::vector<std::string> texts = numbers(10);
  std::atomic<bool> release{false};
  ItemDecoder stuck = text_decoder();
  stuck.from_bytes = [&](auto bytes, auto source, void* out, std::size_t index,
                         std::size_t worker) {
    while (!release.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    decode_text(bytes, source, out, index, worker);
  };
  Loader loader(bytes_sources(texts), stuck, {.batch_size = 5}, pool_of(2));
  CHECK_THROWS_AS((void)loader.next([] { throw std::runtime_error("Ctrl-C"); }),
                  std::runtime_error);
  release = true;
  const LoadedBatch batch = take(loader);
  CHECK(batch.first == 0);
  CHECK(value_at(batch, 4) == 4);
}

TEST_CASE("several threads may take batches from one loader, each batch once") {
  const std::vector<std::string> texts = numbers(3000);
  Loader loader(bytes_sources(texts), text_decoder(), {.batch_size = 3}, pool_of(2));
  std::vector<std::atomic<int>> seen(texts.size());
  std::vector<std::thread> takers;
  takers.reserve(3);
  for (int i = 0; i < 3; ++i) {
    takers.emplace_back([&] {
      while (const auto batch = loader.next()) {
        for (std::size_t k = 0; k < batch->count; ++k) seen[value_at(*batch, k)].fetch_add(1);
      }
    });
  }
  for (std::thread& taker : takers) taker.join();
  CHECK(std::ranges::all_of(seen, [](const auto& n) { return n.load() == 1; }));
}

TEST_CASE("without a pool the callers decode: each batch once, each by the thread that gets it") {
  const std::vector<std::string> texts = numbers(3000);
  for (const auto& [n_callers, n_waiting] : {std::pair{1U, 0U}, {2U, 0U}, {5U, 0U}, {2U, 3U}}) {
    std::vector<std::atomic<int>> busy(n_callers);
    std::atomic<bool> foreign{false};
    static thread_local bool is_caller = false;
    ItemDecoder watched = text_decoder();
    watched.from_bytes = [&](auto bytes, auto source, void* out, std::size_t index,
                             std::size_t worker) {
      if (busy[worker].fetch_add(1) != 0 || !is_caller) foreign = true;
      decode_text(bytes, source, out, index, worker);
      busy[worker].fetch_sub(1);
    };
    Loader loader(bytes_sources(texts), watched, {.batch_size = 7, .callers = n_callers}, nullptr);
    std::vector<std::atomic<int>> seen(texts.size());
    std::vector<std::thread> callers;
    callers.reserve(n_callers + n_waiting);
    for (std::size_t i = 0; i < n_callers + n_waiting; ++i) {
      callers.emplace_back([&] {
        is_caller = true;
        while (const auto batch = loader.next()) {
          for (std::size_t k = 0; k < batch->count; ++k) seen[value_at(*batch, k)].fetch_add(1);
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(std::ranges::all_of(seen, [](const auto& n) { return n.load() == 1; }));
    CHECK_FALSE(foreign.load());
    if (n_waiting == 0) CHECK(loader.buffers_allocated() <= n_callers);
  }
}

TEST_CASE("without a pool bad items are values, and what is not about an item ends the run") {
  const std::vector<std::string> texts = {"0", "corrupt", "2", "memory", "4", "crash", "6"};
  std::vector<ImageSource> sources = bytes_sources(texts);
  sources[4] = PendingSource{};
  Loader loader(std::move(sources), text_decoder(), {.batch_size = 5}, nullptr);
  const LoadedBatch batch = take(loader);
  CHECK(batch.pending == std::vector<std::size_t>{4});
  REQUIRE(batch.errors.size() == 2);
  CHECK(batch.errors[0].index == 1);
  CHECK(batch.errors[1].code == ErrorCode::out_of_memory);
  CHECK(value_at(batch, 2) == 2);
  CHECK_THROWS_AS((void)loader.next(), std::runtime_error);
  CHECK_THROWS_AS((void)loader.next(), std::runtime_error);
}

TEST_CASE("without a pool cancel() and close() end the run after the image at hand") {
  const std::vector<std::string> texts = numbers(64);
  std::atomic<int> decoded{0};
  CancelToken cancel;
  ItemDecoder cancelling = text_decoder();
  cancelling.from_bytes = [&](auto, auto, void*, std::size_t index, std::size_t) {
    ++decoded;
    if (index == 9) cancel.cancel();
  };
  Loader loader(bytes_sources(texts), cancelling, {.batch_size = 4}, nullptr, cancel);
  (void)take(loader);
  (void)take(loader);
  CHECK_THROWS_AS((void)loader.next(), Error);
  CHECK(decoded.load() == 10);
  CHECK_THROWS_AS((void)loader.next(), Error);

  Loader closed(bytes_sources(texts), text_decoder(), {.batch_size = 4}, nullptr);
  (void)take(closed);
  closed.close();
  CHECK_FALSE(closed.next().has_value());
}

TEST_CASE("files are read whole; what cannot be read is named by path and reason") {
  const TemporaryFolder folder;
  const std::string gone = folder.write("gone", "4");
  const std::string fifo = folder.file("fifo");
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  const std::vector<ImageSource> sources{
      FileSource{folder.write("a", "1")},
      FileSource{folder.file("missing")},
      FileSource{folder.file("")},
      FileSource{fifo},
      FileSource{folder.write("b", "22")},
      FileSource{folder.write("big", std::string(99, '7'))},
      FileSource{std::string("a\0b", 3)},
      FileSource{gone},
      FileSource{folder.write("late", "33")},
  };
  fs::remove(gone);
  Loader loader(sources, text_decoder(), {.batch_size = 16, .max_file_bytes = 50}, pool_of(2));
  const LoadedBatch batch = take(loader);
  CHECK(value_at(batch, 0) == 1);
  CHECK(value_at(batch, 4) == 22);
  CHECK(value_at(batch, 8) == 33);
  REQUIRE(batch.errors.size() == 6);
  CHECK(batch.errors[0].source == folder.file("missing"));
  CHECK(batch.errors[0].code == ErrorCode::io);
  CHECK(batch.errors[0].message == "cannot open: No such file or directory");
  CHECK(batch.errors[1].message == "is a directory, not a file");
  CHECK(batch.errors[2].message == "is a named pipe, not a file");
  CHECK(batch.errors[3].code == ErrorCode::limit_exceeded);
  CHECK(batch.errors[3].message == "file of at least 99 bytes exceeds max_file_bytes 50");
  CHECK(batch.errors[4].message == "cannot open: the name contains a NUL character");
  CHECK(batch.errors[5].code == ErrorCode::io);
}

TEST_CASE("a file is read to its end, also when that is not where its size says") {
  const TemporaryFolder folder;
  detail::FileReader reader;
  CHECK(reader.read(folder.write("empty", ""), 10).empty());
  const std::string large(3'000'000, 'x');
  const std::string path = folder.write("large", large);
  CHECK(reader.read(path, large.size()).size() == large.size());
  CHECK_THROWS_AS((void)reader.read(path, large.size() - 1), Error);
  reader.trim();
#ifdef __linux__
  // The kernel gives such files a size of 0 and contents all the same, as if they had grown.
  CHECK_FALSE(reader.read("/proc/self/maps", 1'000'000).empty());
  CHECK_THROWS_AS((void)reader.read("/proc/self/maps", 10), Error);
#endif
}

TEST_CASE("impossible options are refused") {
  CHECK_THROWS_AS(Loader({}, text_decoder(), {.batch_size = 0}, pool_of(1)), Error);
  CHECK_THROWS_AS(Loader({}, ItemDecoder{}, {}, pool_of(1)), Error);
  CHECK_THROWS_AS(Loader({}, text_decoder(), {.callers = 0}, nullptr), Error);
  ItemDecoder vast = text_decoder();
  vast.item_bytes = std::numeric_limits<std::size_t>::max() / 4;
  const std::vector<std::string> texts = numbers(8);
  CHECK_THROWS_AS(Loader(bytes_sources(texts), vast, {}, pool_of(1)), Error);
  vast.item_bytes =
      std::numeric_limits<std::size_t>::max() / 256;  // fits in size_t, not in any memory
  Loader loader(bytes_sources(texts), vast, {}, pool_of(1));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK_THROWS_AS((void)loader.next(), std::bad_alloc);
#endif
}

// ThreadSanitizer does not follow threads into a forked child.
#ifndef __SANITIZE_THREAD__
TEST_CASE("a loader that has started refuses to work in a forked child, and goes away there") {
  const std::vector<std::string> texts = numbers(100);
  auto loader =
      std::make_unique<Loader>(bytes_sources(texts), text_decoder(), LoaderOptions{}, pool_of(2));
  REQUIRE(loader->next().has_value());
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int result = 1;
    try {
      (void)loader->next();
    } catch (const Error& error) {
      result = error.code() == ErrorCode::forked ? 0 : 2;
    }
    loader.reset();
    _exit(result);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(loader->next().has_value());
}
#endif
