internal import Glibc

/// What a control group may use; nil leaves the kernel's default, which is no limit.
package struct CgroupLimits: Hashable, Sendable {
  /// Weight against its siblings as cgroup v1 counted it: 2…262144, 1024 for one CPU.
  package var cpuShares: UInt64?
  /// Microseconds of CPU in each period; nil or negative is no limit.
  package var cpuQuotaMicroseconds: Int64?
  package var cpuPeriodMicroseconds: UInt64?
  /// CPUs and memory nodes as the kernel lists them: "0-1,4".
  package var cpus: String?
  package var memoryNodes: String?
  package var memoryBytesMax: UInt64?
  package var memoryBytesHigh: UInt64?
  package var swapBytesMax: UInt64?
  package var processesMax: UInt64?
  /// Page size as the kernel names it ("2MB") to bytes.
  package var hugepageBytesMax: [String: UInt64] = [:]
  /// Further files of the kernel's own, such as memory.oom.group.
  package var unified: [String: String] = [:]

  package init() {}

  /// One file to write.
  package struct Write: Hashable, Sendable {
    package let controller: String
    package let file: String
    package let value: String
    package init(controller: String, file: String, value: String) {
      self.controller = controller
      self.file = file
      self.value = value
    }
  }

  package var isEmpty: Bool { self == CgroupLimits() }

  /// The files to write, in an order that holds: high before max, unified last, so that it has the last word.
  /// - Throws: `badValue` for a unified key that is no controller's file.
  package func writes() throws(CgroupError) -> [Write] {
    var writes: [Write] = []
    if let cpuShares, cpuShares > 0 {
      writes.append(Write(controller: "cpu", file: "cpu.weight", value: "\(Self.weight(shares: cpuShares))"))
    }
    if cpuQuotaMicroseconds != nil || cpuPeriodMicroseconds != nil {
      let quota = cpuQuotaMicroseconds.flatMap { $0 > 0 ? "\($0)" : nil } ?? "max"
      let period = cpuPeriodMicroseconds.flatMap { $0 > 0 ? $0 : nil } ?? 100_000
      writes.append(Write(controller: "cpu", file: "cpu.max", value: "\(quota) \(period)"))
    }
    if let cpus { writes.append(Write(controller: "cpuset", file: "cpuset.cpus", value: cpus)) }
    if let memoryNodes { writes.append(Write(controller: "cpuset", file: "cpuset.mems", value: memoryNodes)) }
    if let memoryBytesHigh {
      writes.append(Write(controller: "memory", file: "memory.high", value: "\(memoryBytesHigh)"))
    }
    if let memoryBytesMax {
      writes.append(Write(controller: "memory", file: "memory.max", value: "\(memoryBytesMax)"))
    }
    if let swapBytesMax {
      writes.append(Write(controller: "memory", file: "memory.swap.max", value: "\(swapBytesMax)"))
    }
    if let processesMax { writes.append(Write(controller: "pids", file: "pids.max", value: "\(processesMax)")) }
    for (size, limit) in hugepageBytesMax.sorted(by: { $0.key < $1.key }) {
      guard size.utf8.allSatisfy({ ($0 >= 48 && $0 <= 57) || ($0 >= 65 && $0 <= 90) }) else {
        throw .badValue(file: "hugetlb", value: size, reason: "a page size looks like 2MB or 1GB")
      }
      writes.append(Write(controller: "hugetlb", file: "hugetlb.\(size).max", value: "\(limit)"))
    }
    for (file, value) in unified.sorted(by: { $0.key < $1.key }) {
      let controller = file.split(separator: ".", maxSplits: 1).first.map(String.init) ?? ""
      let plain = file.utf8.allSatisfy { ($0 >= 97 && $0 <= 122) || ($0 >= 48 && $0 <= 57) || $0 == 46 || $0 == 95 }
      guard plain, CgroupHierarchy.delegated.contains(controller), !value.contains("\n") else {
        throw .badValue(file: file, value: value, reason: "not a file of a controller that containers may set")
      }
      writes.append(Write(controller: controller, file: file, value: value))
    }
    return writes
  }

  /// cgroup v1 shares as a cgroup v2 weight, so that 2, 1024 and 262144 become 1, 100 and 10000.
  package static func weight(shares: UInt64) -> UInt64 {
    if shares <= 2 { return 1 }
    if shares >= 262_144 { return 10_000 }
    let power = Glibc.log2(Double(shares))
    let exponent = (power * power + 125 * power) / 612 - 7.0 / 34
    return UInt64(Glibc.ceil(Glibc.pow(10, exponent) - 1e-9))
  }
}

extension Cgroup {
  /// Writes limits, also over earlier ones while processes run.
  ///
  /// - Parameter tolerateMissing: leave out limits whose controller the node lacks, and return a sentence for each.
  /// - Throws: `missingController`, or what the kernel says to a value.
  package func apply(_ limits: CgroupLimits, tolerateMissing: Bool) throws(CgroupError) -> [String] {
    let writes = try limits.writes()
    if writes.isEmpty { return [] }
    var available: [String] = []
    do throws(SyscallError) { available = try controllers() } catch { throw .call(error) }
    var warnings: [String] = []
    for write in writes {
      guard available.contains(write.controller) else {
        let missing = CgroupError.missingController(
          name: write.controller, limit: "\(write.file) = \(write.value)", available: available)
        guard tolerateMissing else { throw missing }
        warnings.append(missing.description)
        continue
      }
      do throws(SyscallError) {
        try Self.write(write.value, to: "\(directory)/\(write.file)")
      } catch {
        // Swap accounting can be off while the memory controller is there: no swap limit without swap is no lie.
        if write.file == "memory.swap.max" && error.errno == ENOENT { continue }
        throw .badValue(file: write.file, value: write.value, reason: error.description)
      }
    }
    return warnings
  }
}
