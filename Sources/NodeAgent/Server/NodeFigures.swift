internal import CRIModel
internal import JSON
internal import Kernel
internal import KubeModel
internal import Metrics
internal import SwiftProtobuf
internal import Synchronization

/// What the node itself has used.
struct NodeUsage: Hashable, Sendable {
  /// Nanoseconds since 1970.
  var at: Int64 = 0
  /// Nanoseconds of processor time since the machine started, of all processors.
  var cpuNanoseconds: UInt64 = 0
  /// Of one second, nanoseconds; over the time since the look before.
  var cpuNanoCores: UInt64 = 0
  var memoryBytes: UInt64 = 0
  var workingSetBytes: UInt64 = 0
  var availableBytes: UInt64 = 0

  /// - Parameters:
  ///   - stat: text of /proc/stat, in ticks of 10 ms. meminfo: of /proc/meminfo, in KiB.
  init(stat: String, meminfo: String, at: Int64) {
    self.at = at
    if let line = stat.split(separator: "\n").first(where: { $0.hasPrefix("cpu ") }) {
      let ticks = line.split(separator: " ").dropFirst().map { UInt64($0) ?? 0 }
      // user nice system idle iowait irq softirq steal; what guests use is in user already.
      let busy = ticks.prefix(3).reduce(0, +) + ticks.dropFirst(5).prefix(3).reduce(0, +)
      cpuNanoseconds = busy * 10_000_000
    }
    var amounts: [Substring: UInt64] = [:]
    for line in meminfo.split(separator: "\n") {
      let words = line.split { $0 == " " || $0 == ":" }
      if words.count > 1 { amounts[words[0]] = (UInt64(words[1]) ?? 0) * 1024 }
    }
    let total = amounts["MemTotal"] ?? 0
    availableBytes = amounts["MemAvailable"] ?? 0
    memoryBytes = total - min(total, amounts["MemFree"] ?? 0)
    workingSetBytes = total - min(total, availableBytes)
  }

  /// The node now. Blocks for as long as the kernel takes to write two small files.
  static func look() -> NodeUsage {
    func text(_ path: String) -> String { ((try? Files.readText(path)) ?? nil) ?? "" }
    return NodeUsage(stat: text("/proc/stat"), meminfo: text("/proc/meminfo"), at: SystemClock.wallNanoseconds)
  }
}

/// Rates of work from one look to the next, for the node and where the runtime tells none.
final class NodeMeter: Sendable {
  /// Looks that are closer than this, in nanoseconds, share their rates.
  static let spanMin: Int64 = 1_000_000_000

  private struct Work {
    var at: Int64
    var nanoseconds: UInt64
    var rate: UInt64 = 0

    /// After a look that is long enough ago a new one, with the rate between them.
    func next(_ now: Work) -> Work {
      guard now.at - at >= NodeMeter.spanMin else { return self }
      var next = now
      let busy = now.nanoseconds - min(now.nanoseconds, nanoseconds)
      next.rate = UInt64(Double(busy) * 1e9 / Double(now.at - at))
      return next
    }
  }
  /// Of the node under the empty name, of pods and containers by their ids; only of those that were there at the last look.
  private let known: Mutex<[String: Work]>

  /// - Parameter node: the first look, so that the second has a rate.
  init(node: NodeUsage) { known = Mutex(["": Work(at: node.at, nanoseconds: node.cpuNanoseconds)]) }

  /// Fills the rates in.
  func measure(_ node: inout NodeUsage, _ pods: inout [CRIPodSandboxStats]) {
    let before = known.withLock { $0 }
    var after: [String: Work] = [:]
    func rate(_ id: String, _ at: Int64, _ nanoseconds: UInt64) -> UInt64 {
      let now = Work(at: at, nanoseconds: nanoseconds)
      let work = before[id]?.next(now) ?? now
      after[id] = work
      return work.rate
    }
    node.cpuNanoCores = rate("", node.at, node.cpuNanoseconds)
    func fill(_ id: String, _ cpu: inout CRICpuUsage) {
      let found = rate(id, cpu.timestamp, cpu.usageCoreNanoSeconds.value)
      if cpu.usageNanoCores.value == 0 { cpu.usageNanoCores.value = found }
    }
    for index in pods.indices {
      fill(pods[index].attributes.id, &pods[index].linux.cpu)
      for number in pods[index].linux.containers.indices {
        fill(
          pods[index].linux.containers[number].attributes.id, &pods[index].linux.containers[number].cpu)
      }
    }
    known.withLock { $0 = after }
  }
}

/// What a node and its pods use, in the forms in which a kubelet tells it. Pure.
struct NodeFigures: Sendable {
  var nodeName: String
  var node: NodeUsage
  var pods: [CRIPodSandboxStats]

  // MARK: /stats/summary

  var summary: JSONValue {
    var about: JSONObject = ["nodeName": .string(nodeName)]
    about["cpu"] = Self.cpu(node.at, node.cpuNanoseconds, node.cpuNanoCores)
    about["memory"] = [
      "time": .string(Self.time(node.at)), "availableBytes": Self.number(node.availableBytes),
      "usageBytes": Self.number(node.memoryBytes), "workingSetBytes": Self.number(node.workingSetBytes),
    ]
    return ["node": .object(about), "pods": .array(pods.map(Self.summary))]
  }

  private static func number(_ value: UInt64) -> JSONValue { .integer(Int64(clamping: value)) }

  static func time(_ nanoseconds: Int64) -> String { Time(secondsSinceEpoch: nanoseconds / 1_000_000_000).description }

  private static func cpu(_ at: Int64, _ total: UInt64, _ rate: UInt64) -> JSONValue {
    ["time": .string(time(at)), "usageNanoCores": number(rate), "usageCoreNanoSeconds": number(total)]
  }

  private static func cpu(_ usage: CRICpuUsage) -> JSONValue {
    cpu(usage.timestamp, usage.usageCoreNanoSeconds.value, usage.usageNanoCores.value)
  }

  private static func memory(_ usage: CRIMemoryUsage) -> JSONValue {
    [
      "time": .string(time(usage.timestamp)), "workingSetBytes": number(usage.workingSetBytes.value),
      "usageBytes": number(usage.usageBytes.value), "rssBytes": number(usage.rssBytes.value),
      "availableBytes": number(usage.availableBytes.value), "pageFaults": number(usage.pageFaults.value),
      "majorPageFaults": number(usage.majorPageFaults.value),
    ]
  }

  private static func summary(_ pod: CRIPodSandboxStats) -> JSONValue {
    let metadata = pod.attributes.metadata
    var out: JSONObject = [
      "podRef": [
        "name": .string(metadata.name), "namespace": .string(metadata.namespace), "uid": .string(metadata.uid),
      ]
    ]
    if pod.linux.hasCpu { out["cpu"] = cpu(pod.linux.cpu) }
    if pod.linux.hasMemory { out["memory"] = memory(pod.linux.memory) }
    if pod.linux.hasNetwork {
      let network = pod.linux.network
      func interface(_ one: CRINetworkInterfaceUsage) -> JSONObject {
        [
          "name": .string(one.name), "rxBytes": number(one.rxBytes.value), "rxErrors": number(one.rxErrors.value),
          "txBytes": number(one.txBytes.value), "txErrors": number(one.txErrors.value),
        ]
      }
      var about = interface(network.defaultInterface)
      about["time"] = .string(time(network.timestamp))
      about["interfaces"] = .array(
        ([network.defaultInterface] + network.interfaces).map { .object(interface($0)) })
      out["network"] = .object(about)
    }
    if pod.linux.hasProcess { out["process_stats"] = ["process_count": number(pod.linux.process.processCount.value)] }
    out["containers"] = .array(
      pod.linux.containers.map { container in
        var about: JSONObject = ["name": .string(container.attributes.metadata.name)]
        if container.hasCpu { about["cpu"] = cpu(container.cpu) }
        if container.hasMemory { about["memory"] = memory(container.memory) }
        if container.hasWritableLayer {
          about["rootfs"] = [
            "time": .string(time(container.writableLayer.timestamp)),
            "usedBytes": number(container.writableLayer.usedBytes.value),
            "inodesUsed": number(container.writableLayer.inodesUsed.value),
          ]
        }
        return .object(about)
      })
    return .object(out)
  }

  // MARK: /metrics/resource and /metrics/cadvisor

  private typealias Sample = MetricFamily.Sample
  private typealias Label = MetricFamily.Label

  private func containers(
    _ value: (CRIContainerStats) -> UInt64?, scale: Double = 1, cadvisor: Bool = false
  ) -> [MetricFamily.Sample] {
    pods.flatMap { pod in
      pod.linux.containers.compactMap { container in
        guard let number = value(container) else { return nil }
        var labels = [Label("container", container.attributes.metadata.name)]
        if cadvisor { labels.append(Label("id", "/\(container.attributes.id)")) }
        labels += Self.labels(pod)
        return Sample(labels, .number(Double(number) * scale))
      }
    }
  }

  private static func labels(_ pod: CRIPodSandboxStats) -> [MetricFamily.Label] {
    [Label("namespace", pod.attributes.metadata.namespace), Label("pod", pod.attributes.metadata.name)]
  }

  private func sandboxes(_ value: (CRIPodSandboxStats) -> UInt64?, scale: Double = 1) -> [MetricFamily.Sample] {
    pods.compactMap { pod in
      value(pod).map { Sample(Self.labels(pod), .number(Double($0) * scale)) }
    }
  }

  private static let nano = 1e-9

  var resource: [MetricFamily] {
    [
      MetricFamily(
        "node_cpu_usage_seconds_total", .counter, "Cumulative cpu time consumed by the node in core-seconds",
        Double(node.cpuNanoseconds) * Self.nano),
      MetricFamily(
        "node_memory_working_set_bytes", .gauge, "Current working set of the node in bytes",
        Double(node.workingSetBytes)),
      MetricFamily(
        "container_cpu_usage_seconds_total", .counter,
        "Cumulative cpu time consumed by the container in core-seconds",
        containers({ $0.hasCpu ? $0.cpu.usageCoreNanoSeconds.value : nil }, scale: Self.nano)),
      MetricFamily(
        "container_memory_working_set_bytes", .gauge, "Current working set of the container in bytes",
        containers { $0.hasMemory ? $0.memory.workingSetBytes.value : nil }),
      MetricFamily(
        "pod_cpu_usage_seconds_total", .counter, "Cumulative cpu time consumed by the pod in core-seconds",
        sandboxes({ $0.linux.hasCpu ? $0.linux.cpu.usageCoreNanoSeconds.value : nil }, scale: Self.nano)),
      MetricFamily(
        "pod_memory_working_set_bytes", .gauge, "Current working set of the pod in bytes",
        sandboxes { $0.linux.hasMemory ? $0.linux.memory.workingSetBytes.value : nil }),
      MetricFamily(
        "resource_scrape_error", .gauge, "1 if there was an error while getting container metrics, 0 otherwise", 0),
    ]
  }

  var cadvisor: [MetricFamily] {
    [
      MetricFamily(
        "container_cpu_usage_seconds_total", .counter, "Cumulative cpu time consumed in seconds.",
        containers({ $0.hasCpu ? $0.cpu.usageCoreNanoSeconds.value : nil }, scale: Self.nano, cadvisor: true)),
      MetricFamily(
        "container_memory_usage_bytes", .gauge, "Current memory usage in bytes.",
        containers({ $0.hasMemory ? $0.memory.usageBytes.value : nil }, cadvisor: true)),
      MetricFamily(
        "container_memory_working_set_bytes", .gauge, "Current working set in bytes.",
        containers({ $0.hasMemory ? $0.memory.workingSetBytes.value : nil }, cadvisor: true)),
      MetricFamily(
        "container_memory_rss", .gauge, "Size of RSS in bytes.",
        containers({ $0.hasMemory ? $0.memory.rssBytes.value : nil }, cadvisor: true)),
      MetricFamily(
        "container_fs_usage_bytes", .gauge, "Number of bytes that are consumed by the container on this filesystem.",
        containers({ $0.hasWritableLayer ? $0.writableLayer.usedBytes.value : nil }, cadvisor: true)),
      MetricFamily(
        "container_network_receive_bytes_total", .counter, "Cumulative count of bytes received",
        sandboxes { $0.linux.hasNetwork ? $0.linux.network.defaultInterface.rxBytes.value : nil }),
      MetricFamily(
        "container_network_transmit_bytes_total", .counter, "Cumulative count of bytes transmitted",
        sandboxes { $0.linux.hasNetwork ? $0.linux.network.defaultInterface.txBytes.value : nil }),
      MetricFamily(
        "container_processes", .gauge, "Number of processes running inside the container.",
        sandboxes { $0.linux.hasProcess ? $0.linux.process.processCount.value : nil }),
    ]
  }
}
