/// The files of one cgroup, and what they say as metrics. Pure: the texts are read elsewhere.
///
/// A file that is missing, because its controller is, gives no metric: a nought would be a wrong figure.
struct GroupFigures: Sendable {
  /// A metric's value with the values of its own labels.
  struct Value: Hashable, Sendable {
    var name: MetricName
    var labels: [String]
    var value: UInt64
  }

  /// By name, as "memory.stat".
  var files: [String: String]
  /// Device number as "8:0" to its name.
  var devices: [String: String]

  /// Files that are read of every group.
  static let names = [
    "cpu.stat", "cpu.max", "cpu.pressure", "memory.stat", "memory.current", "memory.peak", "memory.events",
    "memory.max",
    "memory.low", "memory.swap.current", "memory.swap.max", "memory.pressure", "io.stat", "io.pressure", "pids.current",
    "pids.max",
  ]

  var values: [Value] { cpu + memory + disks + hugepages + pressure + tasks }

  private func value(_ name: MetricName, _ number: UInt64?, _ labels: [String] = []) -> [Value] {
    number.map { [Value(name: name, labels: labels, value: $0)] } ?? []
  }

  /// "max" is none, which is 0 in metrics.
  private func limit(_ file: String) -> UInt64? {
    files[file].map { UInt64($0.prefix { $0 != "\n" }) ?? 0 }
  }

  private func number(_ file: String) -> UInt64? {
    files[file].flatMap { UInt64($0.prefix { $0 != "\n" }) }
  }

  static func keyed(_ text: String?) -> [Substring: UInt64] {
    var found: [Substring: UInt64] = [:]
    for line in (text ?? "").split(separator: "\n") {
      let pair = line.split(separator: " ", maxSplits: 1)
      if pair.count == 2, let number = UInt64(pair[1]) { found[pair[0]] = number }
    }
    return found
  }

  private var cpu: [Value] {
    let stat = Self.keyed(files["cpu.stat"])
    func seconds(_ key: Substring) -> UInt64? { stat[key].map { $0 / 1_000_000 } }
    let limit = (files["cpu.max"] ?? "").split { $0 == " " || $0 == "\n" }
    return value(.cpuSeconds, seconds("usage_usec"), ["total"]) + value(.cpuUserSeconds, seconds("user_usec"))
      + value(.cpuSystemSeconds, seconds("system_usec")) + value(.cpuPeriods, stat["nr_periods"])
      + value(.cpuThrottledPeriods, stat["nr_throttled"]) + value(.cpuThrottledSeconds, seconds("throttled_usec"))
      + value(.cpuQuota, limit.first.flatMap { UInt64($0) })
      + value(.cpuPeriod, limit.count == 2 ? UInt64(limit[1]) : nil)
  }

  private var memory: [Value] {
    guard let current = number("memory.current") else { return [] }
    let stat = Self.keyed(files["memory.stat"])
    let events = Self.keyed(files["memory.events"])
    let inactive = stat["inactive_file"] ?? 0
    let swapLimit = limit("memory.swap.max")
    let memoryLimit = limit("memory.max") ?? 0
    var all: [Value] = []
    all += value(.memoryUsage, current)
    all += value(.memoryWorkingSet, current > inactive ? current - inactive : 0)
    all += value(.memoryCache, stat["file"]) + value(.memoryResident, stat["anon"])
    all += value(.memoryMapped, stat["file_mapped"])
    // Kernels before 5.18 have only the parts.
    all += value(.memoryKernel, stat["kernel"] ?? ((stat["kernel_stack"] ?? 0) + (stat["slab"] ?? 0)))
    all += value(.memoryMaximum, number("memory.peak")) + value(.memorySwap, number("memory.swap.current"))
    all += value(.memoryFailures, events["max"]) + value(.outOfMemory, events["oom_kill"])
    all += value(.pageFailures, stat["pgfault"], ["pgfault", "container"])
    all += value(.pageFailures, stat["pgmajfault"], ["pgmajfault", "container"])
    all += value(.memoryLimit, memoryLimit) + value(.memoryReservation, limit("memory.low"))
    // cgroup v2 counts swap apart, the metric together.
    all += value(.memorySwapLimit, swapLimit.map { $0 == 0 && memoryLimit == 0 ? 0 : $0 + memoryLimit })
    return all
  }

  private var disks: [Value] {
    var all: [Value] = []
    for line in (files["io.stat"] ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard let number = fields.first, number.contains(":") else { continue }
      var figures: [Substring: UInt64] = [:]
      for field in fields.dropFirst() {
        let pair = field.split(separator: "=")
        if pair.count == 2 { figures[pair[0]] = UInt64(pair[1]) }
      }
      let parts = number.split(separator: ":").map(String.init)
      let device = devices[String(number)] ?? String(number)
      all += value(.readBytes, figures["rbytes"], [device]) + value(.writtenBytes, figures["wbytes"], [device])
      all += value(.reads, figures["rios"], [device]) + value(.writes, figures["wios"], [device])
      guard parts.count == 2 else { continue }
      for (operation, key) in [("Read", "rbytes"), ("Write", "wbytes")] as [(String, Substring)] {
        all += value(.blockDeviceUsage, figures[key], [device, parts[0], parts[1], operation])
      }
    }
    return all
  }

  private var hugepages: [Value] {
    files.keys.sorted().flatMap { file -> [Value] in
      guard file.hasPrefix("hugetlb."), file.hasSuffix(".current"), !file.contains("rsvd") else { return [] }
      let size = String(file.dropFirst("hugetlb.".count).dropLast(".current".count))
      return value(.hugepagesUsage, number(file), [size])
    }
  }

  private var pressure: [Value] {
    var all: [Value] = []
    for (file, waiting, stalled) in [
      ("cpu.pressure", MetricName.cpuWaiting, MetricName.cpuStalled), ("io.pressure", .ioWaiting, .ioStalled),
      ("memory.pressure", .memoryWaiting, .memoryStalled),
    ] {
      for line in (files[file] ?? "").split(separator: "\n") {
        guard let total = line.split(separator: " ").last, total.hasPrefix("total="),
          let microseconds = UInt64(total.dropFirst("total=".count))
        else { continue }
        all += value(line.hasPrefix("some") ? waiting : stalled, microseconds / 1_000_000)
      }
    }
    return all
  }

  private var tasks: [Value] {
    value(.threads, number("pids.current")) + value(.threadsMaximum, limit("pids.max"))
  }
}
