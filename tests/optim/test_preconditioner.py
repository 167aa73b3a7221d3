"""The preconditioner, against dense Kronecker products in float64."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from tests.cases import actor_with, trajectories
from torchrl_htrpo.objectives import TrustRegionObjective
from torchrl_htrpo.optim import ConjugateGradient, GaussNewtonOperator, HessianOperator, KroneckerPreconditioner
from torchrl_htrpo.optim.gauss_newton.row_store import RowStore
from torchrl_htrpo.optim.vectors import dot

ROWS, DAMPING = 40, 1e-2


def network():
    def residual(params, x):
        hidden = nn.functional.linear(x, params["w1"], params["b1"]).tanh()
        return nn.functional.linear(hidden, params["w2"]).sum(-1) * params["scale"].exp().prod()

    return residual


def case(chunks=1):
    params = TensorDict(
        w1=torch.randn(4, 3, dtype=torch.float64),
        b1=torch.randn(4, dtype=torch.float64),
        w2=torch.randn(2, 4, dtype=torch.float64),
        scale=torch.randn(2, dtype=torch.float64) / 2,
    )
    x = torch.randn(ROWS, 3, dtype=torch.float64) * torch.tensor([30.0, 1.0, 0.03])
    weight = torch.rand(ROWS, dtype=torch.float64)
    fn = network()
    parts = zip(x.split(ROWS // chunks), weight.split(ROWS // chunks), strict=True)
    return params, [(lambda p, part=part: fn(p, part), share) for part, share in parts], (x, weight)


def flat(vector):
    return torch.cat([vector[key].reshape(-1) for key in ("w1", "b1", "w2", "scale")])


def unflat(vector, like):
    parts = vector.split([like[key].numel() for key in ("w1", "b1", "w2", "scale")])
    return TensorDict(
        {key: part.view(like[key].shape) for key, part in zip(("w1", "b1", "w2", "scale"), parts, strict=True)}
    )


def dense_inverse(params, x, weight):
    """The definition, with slopes written out."""
    scale = params["scale"].exp().prod()
    hidden = (x @ params["w1"].T + params["b1"]).tanh()
    slope2 = scale * torch.ones(ROWS, 2, dtype=torch.float64)
    slope1 = (slope2 @ params["w2"]) * (1 - hidden.square())
    value = (hidden @ params["w2"].T).sum(-1) * scale
    ones = torch.ones(ROWS, 1, dtype=torch.float64)

    def kron(slope, inputs):
        return torch.kron(slope.T @ (slope * weight[:, None]), inputs.T @ (inputs * weight[:, None]) / weight.sum())

    first = kron(slope1, torch.cat((x, ones), -1))
    order = [4 * row + column for row in range(4) for column in range(3)] + [4 * row + 3 for row in range(4)]
    diagonal = torch.full((2,), (weight * value.square()).sum().item(), dtype=torch.float64)
    matrix = torch.block_diag(first[order][:, order], kron(slope2, hidden), torch.diag(diagonal))
    return torch.linalg.inv(matrix + DAMPING * torch.eye(len(matrix), dtype=torch.float64))


@pytest.mark.parametrize("chunks", [1, 4])
def test_it_inverts_the_damped_kronecker_products(chunks):
    params, residuals, rows = case(chunks)
    solve = KroneckerPreconditioner(num_rows=ROWS)(GaussNewtonOperator(residuals, params), DAMPING)
    vector = params.apply(torch.randn_like)
    torch.testing.assert_close(flat(solve(vector)), dense_inverse(params, *rows) @ flat(vector), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("num_rows", [7, ROWS])
def test_it_is_symmetric_and_positive_from_any_number_of_rows(num_rows):
    params, residuals, _ = case()
    solve = KroneckerPreconditioner(num_rows)(GaussNewtonOperator(residuals, params), DAMPING)
    basis = torch.eye(flat(params).numel(), dtype=torch.float64)
    matrix = torch.stack([flat(solve(unflat(row, params))) for row in basis])
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-8, atol=1e-9)
    assert torch.linalg.eigvalsh(matrix).min() > 0


def test_every_other_row_stands_for_all():
    params, residuals, (x, weight) = case()
    fn = network()
    half = [(lambda p: fn(p, x[::2]), weight[::2] * weight.sum() / weight[::2].sum())]
    vector = params.apply(torch.randn_like)
    sampled = KroneckerPreconditioner(ROWS // 2)(GaussNewtonOperator(residuals, params), DAMPING)(vector)
    expected = KroneckerPreconditioner(ROWS)(GaussNewtonOperator(half, params), DAMPING)(vector)
    torch.testing.assert_close(flat(sampled), flat(expected), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("iterations", [3, 5])
def test_a_few_iterations_come_nearer_to_the_solution_for_a_policy(iterations):
    actor = actor_with("gaussian", hidden=(32, 32))
    batch = trajectories(400, 5, actor=actor)
    batch["advantage"], batch["importance_weight"] = torch.randn(400, 5, 1).double(), torch.rand(400, 5).double()
    objective = TrustRegionObjective(actor)
    params, problem = objective.trainable_params.data.clone(), objective.problem(batch)
    operator = GaussNewtonOperator(problem.residuals, params)
    b = torch.func.grad(lambda p: problem.terms[0](p)[0])(params)
    damping = 1e-2 * (dot(b, operator @ b) / dot(b, b)).item()

    def distance(solver):
        """In the norm that conjugate gradients minimise, up to a constant."""
        found = solver(operator, b, damping=damping)
        return -dot(found.x, b + found.residual).item() / 2

    best = distance(ConjugateGradient(200, tolerance=1e-9))
    plain = distance(ConjugateGradient(iterations, tolerance=0.0)) - best
    helped = distance(ConjugateGradient(iterations, tolerance=0.0, preconditioner=KroneckerPreconditioner())) - best
    assert 0 < helped < plain / 2


def test_it_leaves_the_solution():
    params, residuals, _ = case()
    operator, b = GaussNewtonOperator(residuals, params), params.apply(torch.randn_like)
    solver = ConjugateGradient(200, tolerance=1e-10, preconditioner=KroneckerPreconditioner(ROWS))
    plain = ConjugateGradient(200, tolerance=1e-10)(operator, b, damping=DAMPING)
    helped = solver(operator, b, damping=DAMPING)
    torch.testing.assert_close(flat(helped.x), flat(plain.x), rtol=1e-5, atol=1e-6)


def test_parameters_it_knows_nothing_of_get_the_mean_curvature_of_the_rest():
    torch.manual_seed(3)
    params = TensorDict(w=torch.randn(1, 3).double(), free=torch.randn(50).double())
    x, z = torch.randn(ROWS, 3).double(), torch.randn(ROWS, 50).double()
    residual = lambda p: nn.functional.linear(x, p["w"]).squeeze(-1) + (z * p["free"]).sum(-1)  # noqa: E731
    operator = GaussNewtonOperator([(residual, torch.ones(ROWS).double())], params)
    solved = KroneckerPreconditioner(ROWS)(operator, DAMPING)(params)
    mean = x.square().sum(0).mean()
    torch.testing.assert_close(solved["free"], params["free"] / (mean + DAMPING))


def test_it_declines_where_nothing_is_kept_or_known():
    params, residuals, _ = case()
    assert KroneckerPreconditioner()(GaussNewtonOperator(residuals, params, RowStore(0)), DAMPING) is None
    hessian = HessianOperator([lambda p: (p["w1"].sum(), p["w1"].square().sum())], params)
    assert KroneckerPreconditioner()(hessian, DAMPING) is None


def test_curvature_that_is_not_finite_is_left_to_the_iteration():
    params, residuals, _ = case()
    ((fn, weight),) = residuals
    broken = [(lambda p: fn(p) * float("nan"), weight)]
    assert KroneckerPreconditioner()(GaussNewtonOperator(broken, params), DAMPING) is None


def test_it_needs_rows():
    with pytest.raises(ValueError, match="KroneckerPreconditioner: num_rows must be a positive integer, got 0"):
        KroneckerPreconditioner(0)


def test_directions_in_which_no_row_moves_do_no_harm_without_damping():
    params, residuals, _ = case()
    flat_x = torch.zeros(ROWS, 3, dtype=torch.float64)  # the first layer's weights move nothing
    fn = network()
    operator = GaussNewtonOperator([(lambda p: fn(p, flat_x), residuals[0][1])], params)
    solve = KroneckerPreconditioner()(operator, 0.0)
    assert all(leaf.isfinite().all() for leaf in solve(operator @ params.clone()).values())
