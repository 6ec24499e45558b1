package import Dataplane
internal import Kernel

/// Something of a Service that is not done, for people and for conditions.
package struct ServiceTrouble: Hashable, Sendable, CustomStringConvertible {
  package enum Reason: String, Hashable, Sendable, CaseIterable {
    /// An address of the Service or of an endpoint cannot be one.
    case invalidAddress = "InvalidAddress"
    /// A port or protocol that there is not.
    case invalidPort = "InvalidPort"
    /// Another Service has this address and port.
    case addressTaken = "AddressTaken"
    /// Another Service has this node port.
    case nodePortTaken = "NodePortTaken"
    /// A slice names addresses that are not of its own family.
    case familyMismatch = "FamilyMismatch"
    case tooManyEndpoints = "TooManyEndpoints"
    case tooManySourceRanges = "TooManySourceRanges"
    case invalidAffinity = "InvalidAffinity"
    case unknownBalance = "UnknownBalance"
    /// This node was told not to serve it.
    case notAllowed = "NotAllowed"
    /// The kernel refused it; it is tried again.
    case refused = "Refused"
    /// The port for load balancers' questions cannot be listened on.
    case healthPortTaken = "HealthPortTaken"
  }
  package var reason: Reason
  package var message: String

  package init(_ reason: Reason, _ message: String) { (self.reason, self.message) = (reason, message) }

  init(_ problem: EntryProblem) {
    self.init(Reason(rawValue: problem.reason.rawValue) ?? .refused, "\(problem.key.place): \(problem.detail)")
  }

  package var description: String { "\(reason.rawValue): \(message)" }
}

extension ServiceEntry.Key {
  /// `10.96.0.1 tcp port 80`, or `node port 30080 (tcp)`.
  package var place: String {
    address.isUnspecified ? "node port \(port) (\(transport))" : "\(address) \(transport) port \(port)"
  }
}
