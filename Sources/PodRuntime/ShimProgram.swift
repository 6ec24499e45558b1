internal import Kernel

/// What every shim starts from, made once a daemon: the program in sealed memory, which nothing can write to
/// (CVE-2019-5736), and an empty mount namespace that containers start with instead of a copy of the host's.
package final class ShimProgram: Sendable {
  let file: SharedFD
  let seed: SharedFD

  /// - Parameter path: of martlet-shim; nil is the directory of this program.
  /// - Requires: root. Blocks some milliseconds.
  package init(path: String? = nil) async throws(ShimError) {
    do throws(SyscallError) {
      let beside = Files.parent(of: try Files.readLink("/proc/self/exe")) + "/martlet-shim"
      file = try Sandbox.sealedProgram(path: path ?? beside)
      seed = try await Sandbox.makeSeed()
    } catch {
      throw .call(error)
    }
  }
}
