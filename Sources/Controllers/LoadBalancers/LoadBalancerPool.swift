package import KubeClient
internal import Kernel
package import KubeModel

/// Addresses that Services of type LoadBalancer get, and who has which. A pure value.
///
/// What a Service's status says is kept as long as the pool has it; a restart therefore changes nothing.
package struct LoadBalancerPool: Sendable {
  package struct Refusal: Error, Hashable, CustomStringConvertible {
    package let description: String
  }
  /// First and last address, of one family.
  private struct Range: Hashable, Sendable {
    var first: IPAddress
    var last: IPAddress

    func contains(_ address: IPAddress) -> Bool {
      address.family == first.family && first <= address && address <= last
    }
  }
  /// The class of Services that are ours besides those without one.
  package static let loadBalancerClass = "martlet.dev/pool"
  /// Addresses that a Service asks for, separated by commas; `spec.loadBalancerIP` is the older way.
  package static let addressesAnnotation = "martlet.dev/load-balancer-ips"
  /// Addresses of a range that are looked through for a free one.
  static let addressesMax: UInt64 = 1 << 16

  private let ranges: [Range]
  private var holders: [IPAddress: ObjectKey] = [:]
  private var held: [ObjectKey: [IPAddress]] = [:]

  /// - Parameter pools: `192.0.2.0/28` or `192.0.2.10-192.0.2.20`, of either family.
  package init(_ pools: [String]) throws(Refusal) {
    var ranges: [Range] = []
    for text in pools {
      guard let range = Self.range(text) else {
        throw Refusal(
          description: "load balancer pool \"\(text)\" is no range such as 192.0.2.0/28 or 192.0.2.10-192.0.2.20")
      }
      ranges.append(range)
    }
    self.ranges = ranges
  }

  private static func range(_ text: String) -> Range? {
    let ends = text.split(separator: "-", omittingEmptySubsequences: false)
    if ends.count == 2 {
      guard let first = IPAddress(ends[0]), let last = IPAddress(ends[1]), first.family == last.family, first <= last
      else { return nil }
      return Range(first: first, last: last)
    }
    if let one = IPAddress(text) { return Range(first: one, last: one) }
    guard let prefix = IPPrefix(text) else { return nil }
    let last = zip(prefix.address.bytes, prefix.mask).map { $0 | ~$1 }
    guard let last = IPAddress(bytes: last) else { return nil }
    return Range(first: prefix.address, last: last)
  }

  package var isEmpty: Bool { ranges.isEmpty }

  /// Whether a Service gets its addresses here.
  package static func serves(_ service: Service) -> Bool {
    service.spec.type == "LoadBalancer" && service.metadata.deletionTimestamp == nil
      && (service.spec.loadBalancerClass ?? loadBalancerClass) == loadBalancerClass
  }

  // MARK: who has which

  /// Takes what a Service's status says, unless another has it already.
  package mutating func adopt(_ service: Service) {
    guard Self.serves(service) else { return }
    take(Self.stated(service).filter { contains($0) && isFree($0, for: ObjectKey(service)) }, ObjectKey(service))
  }

  private static func stated(_ service: Service) -> [IPAddress] {
    service.status.loadBalancer.ingress.compactMap { $0.ip.flatMap { IPAddress($0) } }
  }

  private func contains(_ address: IPAddress) -> Bool { ranges.contains { $0.contains(address) } }

  private func isFree(_ address: IPAddress, for key: ObjectKey) -> Bool {
    holders[address] == nil || holders[address] == key
  }

  private mutating func take(_ addresses: [IPAddress], _ key: ObjectKey) {
    for address in held[key] ?? [] where !addresses.contains(address) { holders[address] = nil }
    for address in addresses { holders[address] = key }
    held[key] = addresses.isEmpty ? nil : addresses
  }

  /// - Returns: whether the Service had addresses.
  package mutating func release(_ key: ObjectKey) -> Bool {
    let had = held[key] != nil
    take([], key)
    return had
  }

  /// The addresses that a Service shall have, one a family of its spec; it has them from now on.
  package mutating func assign(_ service: Service) throws(Refusal) -> [String] {
    let key = ObjectKey(service)
    let asked = try asked(service)
    var chosen: [IPAddress] = []
    let families: [IPAddress.Family] =
      service.spec.ipFamilies.isEmpty
      ? [.ipv4] : service.spec.ipFamilies.map { $0 == "IPv6" ? .ipv6 : .ipv4 }
    var lacking: [String] = []
    for family in families {
      if let wanted = asked.first(where: { $0.family == family }) {
        guard contains(wanted) else { throw Refusal(description: "\(wanted) is not in the pool of load balancers") }
        guard isFree(wanted, for: key) else {
          throw Refusal(description: "\(wanted) is taken by service \(holders[wanted].map { "\($0)" } ?? "")")
        }
        chosen.append(wanted)
      } else if let kept = ((held[key] ?? []) + Self.stated(service)).first(where: {
        $0.family == family && contains($0) && isFree($0, for: key)
      }) {
        chosen.append(kept)
      } else if let free = firstFree(family) {
        chosen.append(free)
      } else {
        lacking.append(family == .ipv4 ? "IPv4" : "IPv6")
      }
    }
    // One family is better than none, where both are only preferred.
    let isEnough = !chosen.isEmpty && (lacking.isEmpty || service.spec.ipFamilyPolicy != "RequireDualStack")
    guard isEnough else {
      throw Refusal(
        description: "the pool of load balancers has no free address of \(lacking.joined(separator: " and "))")
    }
    take(chosen, key)
    return chosen.map(\.description)
  }

  private func asked(_ service: Service) throws(Refusal) -> [IPAddress] {
    var texts = (service.metadata.annotations[Self.addressesAnnotation] ?? "").split(separator: ",").map {
      $0.filter { !$0.isWhitespace }
    }
    if texts.isEmpty, let one = service.spec.loadBalancerIP, !one.isEmpty { texts = [one] }
    var addresses: [IPAddress] = []
    for text in texts {
      guard let address = IPAddress(text) else { throw Refusal(description: "\"\(text)\" is no address") }
      addresses.append(address)
    }
    return addresses
  }

  private func firstFree(_ family: IPAddress.Family) -> IPAddress? {
    for range in ranges where range.first.family == family {
      var next: IPAddress? = range.first
      var looked: UInt64 = 0
      while let address = next, address <= range.last, looked < Self.addressesMax {
        if holders[address] == nil { return address }
        next = address.advanced(by: 1)
        looked += 1
      }
    }
    return nil
  }
}
