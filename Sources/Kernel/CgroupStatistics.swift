internal import Glibc

/// Some or all of a group's tasks stalled on a resource: the kernel's pressure stall information.
package struct PressureStall: Hashable, Sendable {
  package struct Share: Hashable, Sendable {
    /// Percent of the last 10, 60 and 300 seconds.
    package var average10 = 0.0
    package var average60 = 0.0
    package var average300 = 0.0
    package var totalMicroseconds: UInt64 = 0
    package init() {}
  }
  package var some = Share()
  package var full = Share()
  package init() {}

  /// Reads the text of a `*.pressure` file: `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
  package init?(_ text: String) {
    guard !text.isEmpty else { return nil }
    for line in text.split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard let name = fields.first else { continue }
      var share = Share()
      for field in fields.dropFirst() {
        let pair = field.split(separator: "=", maxSplits: 1)
        guard pair.count == 2 else { continue }
        switch pair[0] {
        case "avg10": share.average10 = Double(pair[1]) ?? 0
        case "avg60": share.average60 = Double(pair[1]) ?? 0
        case "avg300": share.average300 = Double(pair[1]) ?? 0
        case "total": share.totalMicroseconds = UInt64(pair[1]) ?? 0
        default: break
        }
      }
      if name == "some" { some = share } else { full = share }
    }
  }
}

/// What a group uses now. A nil is a figure that this kernel or its missing controller does not give.
package struct CgroupStatistics: Hashable, Sendable {
  package var cpuMicroseconds: UInt64?
  package var memoryBytes: UInt64?
  /// Memory that cannot be dropped under pressure: without inactive file pages.
  package var workingSetBytes: UInt64?
  package var residentBytes: UInt64?
  package var memoryBytesMax: UInt64?
  package var pageFaults: UInt64?
  package var majorPageFaults: UInt64?
  package var swapBytes: UInt64?
  package var swapBytesMax: UInt64?
  package var processes: UInt64?
  package var cpuPressure: PressureStall?
  package var memoryPressure: PressureStall?
  package var ioPressure: PressureStall?
  package init() {}
}

extension Cgroup {
  /// Reads the group's files; what cannot be read stays nil, and a group that is gone gives nothing.
  package func statistics() -> CgroupStatistics {
    func text(_ file: String) -> String { (try? Files.readText("\(directory)/\(file)")).flatMap { $0 } ?? "" }
    func number(_ file: String) -> UInt64? { UInt64(text(file).prefix { $0 != "\n" }) }
    var statistics = CgroupStatistics()
    statistics.cpuMicroseconds = keyed(text("cpu.stat"))["usage_usec"]
    if let current = number("memory.current") {
      let detail = keyed(text("memory.stat"))
      statistics.memoryBytes = current
      let inactive = detail["inactive_file"] ?? 0
      statistics.workingSetBytes = current > inactive ? current - inactive : 0
      statistics.residentBytes = detail["anon"]
      statistics.pageFaults = detail["pgfault"]
      statistics.majorPageFaults = detail["pgmajfault"]
      statistics.memoryBytesMax = number("memory.max")
      statistics.swapBytes = number("memory.swap.current")
      statistics.swapBytesMax = number("memory.swap.max")
    }
    statistics.processes = number("pids.current") ?? countProcesses()
    statistics.cpuPressure = PressureStall(text("cpu.pressure"))
    statistics.memoryPressure = PressureStall(text("memory.pressure"))
    statistics.ioPressure = PressureStall(text("io.pressure"))
    return statistics
  }

  /// Processes here and below, where no controller counts them.
  private func countProcesses() -> UInt64 {
    var count = UInt64((try? processes())?.count ?? 0)
    for entry in (try? Directory(path: directory).list()) ?? [] where entry.kind == .directory {
      if let inner = try? child(entry.name) { count += inner.countProcesses() }
    }
    return count
  }

  /// How many processes here or below the kernel killed for memory; 0 without the memory controller.
  package func outOfMemoryKills() -> UInt64 {
    guard let text = (try? Files.readText("\(directory)/memory.events")).flatMap({ $0 }) else { return 0 }
    return keyed(text)["oom_kill"] ?? 0
  }
}
