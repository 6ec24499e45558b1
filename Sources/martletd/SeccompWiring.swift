internal import CRIServer
internal import JSON
internal import OCISpec

extension Daemon {
  static func seccomp() throws -> SeccompCompiler {
    SeccompCompiler(
      defaultProfile: RuntimeSpec.Seccomp(defaultAction: .allow), program: { _ in [] },
      parse: { text, path in RuntimeSpec.Seccomp(defaultAction: .allow) })
  }
}
