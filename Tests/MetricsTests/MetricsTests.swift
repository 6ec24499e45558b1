import Testing
import TestSupport

@testable import Metrics

@Suite struct MetricsTests {
  @Test func `Calls, gauges and odd labels are written as Prometheus reads them`() throws {
    let book = CallBook()
    let run = CallBook.Method(service: "runtime.v1.RuntimeService", name: "RunPodSandbox")
    let pull = CallBook.Method(service: "runtime.v1.ImageService", name: "PullImage")
    for seconds in [0.0001, 0.004, 0.25, 500] {
      book.started(run)
      book.ended(run, code: seconds > 1 ? "Unavailable" : "OK", seconds: seconds)
    }
    book.started(pull)
    let families =
      book.families + [
        MetricFamily("martlet_pods", .gauge, "Pods.", [.init([.init("state", "ready")], .number(3))]),
        MetricFamily(
          "odd", .gauge, "A \\ and\na line.",
          [.init([.init("a", "x\"y\\z\n")], .number(0.5)), .init([], .number(.infinity))]),
        MetricFamily("empty", .gauge, "Has no series.", []),
      ]
    try Golden.check(MetricFamily.text(families), named: "metrics.txt")
    #expect(book.underWay(pull) == 1 && book.underWay(run) == 0 && book.ended(run) == ["OK": 3, "Unavailable": 1])
  }

  @Test func `A value on a bound belongs to the bucket of that bound`() {
    var histogram = Histogram(bounds: [1, 2])
    for value in [1, 1.5, 2, 3] { histogram.observe(value) }
    #expect(histogram.cumulative.map(\.count) == [1, 3, 4] && histogram.cumulative.last?.bound == "+Inf")
    #expect(histogram.sum == 7.5 && histogram.count == 4)
  }

  @Test func `Methods that clients invent take no more memory than a bound allows`() {
    let book = CallBook()
    for number in 0..<10_000 {
      let method = CallBook.Method(service: "s", name: "m\(number)")
      book.started(method)
      book.ended(method, code: "Unimplemented", seconds: 0)
    }
    let started = book.families[0].samples
    #expect(started.count == CallBook.methodsMax + 1)
    let total = started.reduce(0.0) { sum, sample in
      if case .number(let value) = sample.value { sum + value } else { sum }
    }
    #expect(total == 10_000)
  }
}

@Suite struct TraceParentTests {
  @Test(arguments: [
    ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
    ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true),
    ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false),
    ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
    ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
    ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
    ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false), ("", false), ("00---", false),
  ])
  func `A trace's parent is taken only in its one form`(text: String, isTaken: Bool) {
    #expect((TraceParent(text) != nil) == isTaken)
    if isTaken { #expect(TraceParent(text)?.spanID == "b7ad6b7169203331") }
  }
}
