import ArgumentParser
import ClusterDNS
import DNSMessage
import Kernel
import KubeClient
import KubeModel
import Logging
import PodTranslation

/// The name server of a cluster, as a node runs it.
struct DNSOptions: ParsableArguments {
  @Option(name: .customLong("cluster-dns"), help: ArgumentHelp("A name server for pods.", valueName: "address"))
  var clusterDNS: [String] = []

  @Option(name: .customLong("cluster-domain"), help: ArgumentHelp("The domain of Services.", valueName: "name"))
  var clusterDomain = "cluster.local"

  @Option(
    name: .customLong("dns-upstream"),
    help: ArgumentHelp(
      "A name server for names outside the cluster; the node's own by default.", valueName: "address[:port]"))
  var upstreams: [String] = []

  @Option(
    name: .customLong("dns-stub"),
    help: ArgumentHelp("A name server for one domain.", valueName: "domain=address[:port]"))
  var stubs: [String] = []

  @Flag(name: .customLong("without-dns"), help: "Run no name server here; pods use that of --cluster-dns.")
  var isOff = false

  static let port = 53
  /// Which address of the range of Services the name server has.
  private static let serviceOffset: UInt64 = 10

  /// The name server's address in a range of Services; nil where the range has none.
  static func address(in ranges: [IPPrefix]) -> String? {
    guard let first = ranges.first, let address = first.address.advanced(by: serviceOffset), first.contains(address)
    else { return nil }
    return address.description
  }

  /// What pods are told.
  func servers(isCluster: Bool, serviceRanges: [IPPrefix]) -> [String] {
    if !clusterDNS.isEmpty || !isCluster { return clusterDNS }
    return Self.address(in: serviceRanges).map { [$0] } ?? []
  }

  /// - Returns: nil where none shall run here.
  func server(
    of membership: ClusterMembership, facts: NodeFacts, ranges: [IPPrefix], logger: Logger
  ) throws -> ClusterDNS? {
    guard !isOff, !facts.clusterDNS.isEmpty else { return nil }
    guard let domain = DNSName(clusterDomain), !domain.isRoot else {
      throw Failure("--cluster-domain \"\(clusterDomain)\" is no domain", code: Failure.usageCode)
    }
    var settings = ClusterDNS.Settings(domain: domain)
    let place = membership.place
    settings.hosts = { place.now }
    settings.port = Self.port
    settings.ranges = ranges.map { ZoneRange(address: $0.address.bytes, prefixBits: $0.length) }
    settings.addresses = facts.clusterDNS.compactMap { IPAddress($0)?.bytes }
    settings.upstreams = try upstreams.map { try Self.upstream($0, "--dns-upstream") }
    if upstreams.isEmpty {
      // A node whose own name server is ours would ask in circles.
      settings.upstreams = facts.hostDNS.servers.filter { !facts.clusterDNS.contains($0) }.compactMap {
        DNSUpstream($0)
      }
    }
    for stub in stubs {
      let parts = stub.split(separator: "=", maxSplits: 1)
      guard parts.count == 2, let name = DNSName(String(parts[0])) else {
        throw Failure("--dns-stub \"\(stub)\" is not as corp.example=10.0.0.53", code: Failure.usageCode)
      }
      settings.stubs[name, default: []].append(try Self.upstream(String(parts[1]), "--dns-stub"))
    }
    return ClusterDNS(
      settings: settings, services: membership.informers.informer(Service.self),
      slices: membership.informers.informer(EndpointSlice.self), logger: logger)
  }

  private static func upstream(_ text: String, _ option: String) throws -> DNSUpstream {
    guard let upstream = DNSUpstream(text) else {
      throw Failure("\(option) \"\(text)\" is no address such as 10.0.0.53 or 10.0.0.53:5353", code: Failure.usageCode)
    }
    return upstream
  }
}
