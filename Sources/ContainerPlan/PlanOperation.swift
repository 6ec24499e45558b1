/// One step of a plan.
package enum PlanOperation: Hashable, Sendable, CustomStringConvertible {
  case setSession
  package var description: String { "setsid" }
}

/// A rule of a device filter; see `RuntimeSpec.DeviceRule`.
package struct PlanDeviceRule: Hashable, Sendable {
}
