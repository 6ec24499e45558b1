internal import Kernel
internal import KubeModel

/// Gives addresses to Services that name none: each always the same one, as long as no other wants it.
struct ServiceAddresses {
  private let ranges: [IPPrefix]
  private var holders: [IPAddress: String] = [:]
  /// Addresses of a range that are given out; a larger range is not used further.
  private static let rangeMax: UInt64 = 1 << 20

  init(ranges: [IPPrefix]) { self.ranges = ranges }

  private static func named(_ service: Service) -> [String] {
    var named = service.spec.clusterIPs
    if let first = service.spec.clusterIP, !first.isEmpty, !named.contains(first) { named.insert(first, at: 0) }
    return named.filter { $0 != "None" && !$0.isEmpty }
  }

  /// Addresses that Services name are theirs before any is given out; the first by name keeps one that two want.
  mutating func reserve(_ service: Service) {
    for text in Self.named(service) {
      guard let address = IPAddress(text), holders[address] == nil else { continue }
      holders[address] = ServicePlan.key(service)
    }
  }

  mutating func take(_ service: Service) throws(ServiceProblem) -> [IPAddress] {
    let key = ServicePlan.key(service)
    var addresses: [IPAddress] = []
    for text in Self.named(service) {
      guard let address = IPAddress(text) else { throw ServiceProblem("spec.clusterIP: \"\(text)\" is no address") }
      if address.isUnspecified || address.isLoopback {
        throw ServiceProblem("spec.clusterIP: \(text) cannot be a Service's")
      }
      if let holder = holders[address], holder != key {
        throw ServiceProblem("spec.clusterIP: \(text) is taken by service \(holder)")
      }
      addresses.append(address)
    }
    for family in try families(service) where !addresses.contains(where: { $0.family == family }) {
      guard let range = ranges.first(where: { $0.address.family == family }) else {
        throw ServiceProblem("spec.ipFamilies: there is no service range for \(family); start the node with one")
      }
      addresses.append(try give(key, from: range))
    }
    return addresses
  }

  private func families(_ service: Service) throws(ServiceProblem) -> [IPAddress.Family] {
    var wanted: [IPAddress.Family] = []
    for (index, name) in service.spec.ipFamilies.enumerated() {
      switch name {
      case "IPv4": wanted.append(.ipv4)
      case "IPv6": wanted.append(.ipv6)
      default: throw ServiceProblem("spec.ipFamilies[\(index)]: \"\(name)\" is not IPv4 or IPv6")
      }
    }
    let there = ranges.map(\.address.family)
    let named = Self.named(service).compactMap { IPAddress($0)?.family }
    switch service.spec.ipFamilyPolicy {
    case "RequireDualStack":
      if Set(there).count < 2, Set(named).count < 2 {
        throw ServiceProblem("spec.ipFamilyPolicy: RequireDualStack needs a service range of each family")
      }
      fallthrough
    case "PreferDualStack": return wanted + there.filter { !wanted.contains($0) }
    default:
      if !wanted.isEmpty { return Array(wanted.prefix(1)) }
      if !named.isEmpty { return [] }
      guard let first = there.first else {
        throw ServiceProblem("spec.clusterIP: required, because the node was started without a service range")
      }
      return [first]
    }
  }

  private mutating func give(_ key: String, from range: IPPrefix) throws(ServiceProblem) -> IPAddress {
    let hostBits = min((range.address.family == .ipv4 ? 32 : 128) - range.length, 20)
    // Neither the first address, which names the range, nor the last, which IPv4 keeps for broadcast.
    let count = min(UInt64(1) << UInt64(hostBits), Self.rangeMax)
    guard count > 2 else { throw ServiceProblem("the service range \(range) has no room") }
    let usable = count - 2
    let start = Self.hash(key) % usable
    for step in 0..<usable {
      guard let address = range.address.advanced(by: 1 + (start + step) % usable) else { continue }
      if holders[address] == nil || holders[address] == key {
        holders[address] = key
        return address
      }
    }
    throw ServiceProblem("the service range \(range) has no free address")
  }

  /// FNV-1a, 64 bits: the same on every node and after every restart, which Swift's own hashing is not.
  private static func hash(_ text: String) -> UInt64 {
    text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}
