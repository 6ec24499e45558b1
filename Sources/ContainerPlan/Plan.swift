package import OCISpec

/// What the shim's child does between clone and exec, as a value: an ordered list of operations.
///
/// Equal inputs give equal plans, byte for byte.
package struct Plan: Hashable, Sendable {
  package internal(set) var operations: [PlanOperation]
  /// The child's PID namespace.
  package internal(set) var processNamespace = SandboxContext.ProcessNamespace.container
  package internal(set) var hasTerminal = false
  /// Devices that the container's cgroup shall allow; empty is every one.
  package internal(set) var deviceRules: [RuntimeSpec.DeviceRule] = []
  /// What was asked for and the specification lets a runtime leave out with a warning, such as an unknown capability.
  package internal(set) var warnings: [String] = []

  init(operations: [PlanOperation]) { self.operations = operations }

  /// For shims of before there was a wait; its failures count the operations of this one.
  package var withoutWait: Plan {
    var plan = self
    plan.operations.removeAll { if case .waitForStart = $0 { true } else { false } }
    return plan
  }

  /// One line an operation, for people and golden files.
  package func render() -> String {
    operations.enumerated().map { "\($0.offset + 1). \($0.element)\n" }.joined()
  }
}

/// The request cannot become a plan: what is wrong, and where in the specification it stands.
package struct PlanError: Error, Hashable, Sendable, CustomStringConvertible {
  /// As "mounts[3].options".
  package let field: String
  package let problem: String

  package init(_ field: String, _ problem: String) {
    self.field = field
    self.problem = problem
  }

  package var description: String { "\(field): \(problem)" }
}
