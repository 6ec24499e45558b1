package import OCISpec

extension Plan {
  /// Compiles a container's specification.
  /// - Throws: `PlanError` naming the field that cannot be done.
  package static func container(
    _ spec: RuntimeSpec, root: RootFilesystem, context: SandboxContext
  ) throws(PlanError) -> Plan { throw PlanError("", "unfinished") }

  /// Compiles a process to run in a container that runs already: no mounts, one clone.
  /// - Parameter seccompProgram: the container's own.
  package static func exec(
    _ process: RuntimeSpec.Process, seccompProgram: [UInt8]?
  ) throws(PlanError) -> Plan { throw PlanError("", "unfinished") }
}
