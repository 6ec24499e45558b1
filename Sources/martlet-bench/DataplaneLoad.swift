import Dataplane
import Kernel
import Logging

/// What Martlet's table costs with so many services, and what connections pay.
struct DataplaneLoad {
  let services: Int
  let endpoints: Int

  static func endpoint(_ index: Int) -> IPAddress {
    .ipv4(10, 88, UInt8(index / 250), UInt8(index % 250 + 1))
  }

  /// 10.96.0.1 and on.
  static func virtual(_ number: Int) -> IPAddress {
    .ipv4(10, UInt8(96 + number / 62_500), UInt8(number / 250 % 250), UInt8(number % 250 + 1))
  }

  static let targetPort: UInt16 = 8080
  private static let changes = 200

  private func entry(
    _ number: Int, _ transport: TransportProtocol = .tcp, dropping gone: Int? = nil
  ) -> ServiceEntry {
    ServiceEntry(
      id: "bench/s\(number)", address: Self.virtual(number), transport: transport, port: 80,
      endpoints: (0..<endpoints).filter { $0 != gone }.map {
        ServiceEndpoint(address: Self.endpoint($0), port: Self.targetPort)
      })
  }

  func measure() async throws -> [(String, Double)] {
    let dataplane = try Dataplane(
      configuration: DataplaneConfiguration(podCIDRs: [IPPrefix("10.88.0.0/16")!]),
      logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() })
    var figures: [(String, Double)] = []
    guard let own = Int32(try Files.readLink("/proc/self")) else { throw BenchError("/proc/self is no process") }
    var first = Dataplane.Applied()
    let table = try ServiceTable((0..<services).map { entry($0) })
    let firstSync = try await milliseconds { first = try await dataplane.apply(table) }
    figures += [
      ("first_sync_ms", firstSync), ("first_sync_kernel_ms", Double(first.nanoseconds) / 1e6),
      ("first_sync_messages", Double(first.messages)), ("first_sync_bytes", Double(first.bytes)),
    ]
    figures += try await changes(dataplane)
    figures += try await paced(dataplane, own)
    figures.append(("rss_mb", megabytes(kilobytes: try ProcessMemory.of(own).residentKilobytes)))
    figures.append(("rss_peak_mb", megabytes(kilobytes: try ProcessUse.peakResidentKilobytes(own))))
    var datagrams = entry(services / 2, .udp)
    datagrams.endpoints = Array(datagrams.endpoints.prefix(1))
    try await dataplane.change(set: [datagrams])
    figures += try await Traffic.measure(Self.virtual(services / 2))
    return figures
  }

  /// One service added, and one endpoint changed: medians.
  private func changes(_ dataplane: Dataplane) async throws -> [(String, Double)] {
    var added = Series()
    var addedKernel = Series()
    var changed = Series()
    var changedKernel = Series()
    var last = Dataplane.Applied()
    let one = services / 3
    for _ in 0..<Self.changes {
      added.add(try await milliseconds { last = try await dataplane.change(set: [entry(services)]) })
      addedKernel.add(Double(last.nanoseconds) / 1e6)
      try await dataplane.change(set: [], remove: [entry(services).key])
    }
    // The same number of endpoints, one of them another, as when a pod is replaced.
    for step in 0..<Self.changes {
      var entry = self.entry(one)
      if step % 2 == 0 { entry.endpoints[endpoints - 1].port = Self.targetPort + 1 }
      changed.add(try await milliseconds { last = try await dataplane.change(set: [entry]) })
      changedKernel.add(Double(last.nanoseconds) / 1e6)
    }
    return [
      ("add_service_ms", added.median), ("add_service_p99_ms", added.percentile(0.99)),
      ("add_service_kernel_ms", addedKernel.median), ("change_endpoint_ms", changed.median),
      ("change_endpoint_p99_ms", changed.percentile(0.99)), ("change_endpoint_kernel_ms", changedKernel.median),
      ("messages", Double(last.messages)), ("bytes", Double(last.bytes)),
    ]
  }

  /// A hundred changes a second, for two: CPU of the process, the kernel's share in it.
  private func paced(_ dataplane: Dataplane, _ own: Int32) async throws -> [(String, Double)] {
    let clock = ContinuousClock()
    let begin = clock.now
    let before = try ProcessUse.cpuMicroseconds(own)
    for step in 0..<200 {
      try await clock.sleep(until: begin.advanced(by: .milliseconds(10 * step)))
      let gone = step % 2 == 0 && endpoints > 1 ? 0 : nil
      try await dataplane.change(set: [entry(step / 2 % services, dropping: gone)])
    }
    let cpu = try ProcessUse.cpuMicroseconds(own) - before
    return [("cpu_percent_at_100_per_second", cpu / 1e4 / (begin.duration(to: clock.now).inMilliseconds / 1e3))]
  }
}

/// What connections to a service pay beside those that go straight to an endpoint.
enum Traffic {
  private static let connections = 4000
  private static let slice: Int64 = 400_000_000

  static func measure(_ virtual: IPAddress) async throws -> [(String, Double)] {
    let server = try TrafficProbe.Server(
      port: DataplaneLoad.targetPort, datagramAddress: DataplaneLoad.endpoint(0))
    async let connections: Void = onFreshThread { server.serveConnections() }
    async let datagrams: Void = onFreshThread { server.serveDatagrams() }
    let result = await onFreshThread { () -> Result<[(String, Double)], SyscallError> in
      Result { () throws(SyscallError) in try load(virtual) }
    }
    server.stop()
    _ = await (connections, datagrams)
    return try result.get()
  }

  private static func load(_ virtual: IPAddress) throws(SyscallError) -> [(String, Double)] {
    let pod = DataplaneLoad.endpoint(0)
    let port = DataplaneLoad.targetPort
    var through = Series()
    var straight = Series()
    for index in 0..<connections {
      let service = Double(try TrafficProbe.connect(to: virtual, port: 80)) / 1e3
      let direct = Double(try TrafficProbe.connect(to: pod, port: port)) / 1e3
      // The first ones find nothing in any cache.
      if index < connections / 10 { continue }
      through.add(service)
      straight.add(direct)
    }
    let stream = try TrafficProbe.stream(to: virtual, port: 80, nanoseconds: slice)
    let directStream = try TrafficProbe.stream(to: pod, port: port, nanoseconds: slice)
    let ask = try TrafficProbe.ask(virtual, port: 80, nanoseconds: slice)
    let directAsk = try TrafficProbe.ask(pod, port: port, nanoseconds: slice)
    return [
      ("connect_p50_us", through.median), ("connect_p99_us", through.percentile(0.99)),
      ("direct_connect_p50_us", straight.median), ("direct_connect_p99_us", straight.percentile(0.99)),
      ("throughput_mb_per_s", Double(stream.bytes) * 1e3 / Double(stream.nanoseconds)),
      ("direct_throughput_mb_per_s", Double(directStream.bytes) * 1e3 / Double(directStream.nanoseconds)),
      ("udp_requests_per_s", Double(ask.answers) * 1e9 / Double(ask.nanoseconds)),
      ("direct_udp_requests_per_s", Double(directAsk.answers) * 1e9 / Double(directAsk.nanoseconds)),
    ]
  }
}
