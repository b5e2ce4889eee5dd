//! Sums over a list of weights (a Fenwick tree): adding, changing and finding by a running sum take O(log n).

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fenwick {
    /// At `i`, counted from one, the sum of the lowest bit of `i` many weights that end there.
    sums: Vec<u64>,
    total: u64,
}

impl Fenwick {
    /// The sum of all.
    #[inline]
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// One more at the end.
    pub(super) fn push(&mut self, weight: u64) {
        let at = self.sums.len() + 1;
        let first = at - lowest_bit(at);
        let (mut sum, mut below) = (weight, at - 1);
        while below > first {
            sum += self.sums.get(below - 1).copied().unwrap_or(0);
            below -= lowest_bit(below);
        }
        self.sums.push(sum);
        self.total += weight;
    }

    /// The one at `index`, which was `before`, is `after`.
    pub(super) fn change(&mut self, index: usize, before: u64, after: u64) {
        let mut at = index + 1;
        while let Some(sum) = self.sums.get_mut(at - 1) {
            *sum = *sum - before + after;
            at += lowest_bit(at);
        }
        self.total = self.total - before + after;
    }

    /// The index of the one in whose part of the running sum `at` is, which is below the total.
    pub(super) fn find(&self, mut at: u64) -> usize {
        let mut below = 0;
        let mut step = (self.sums.len() + 1).next_power_of_two() / 2;
        while step > 0 {
            if let Some(&sum) = self.sums.get(below + step - 1)
                && sum <= at
            {
                at -= sum;
                below += step;
            }
            step /= 2;
        }
        below
    }
}

fn lowest_bit(n: usize) -> usize {
    n & n.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_a_walk_finds_through_all_changes() {
        let mut weights: Vec<u64> = Vec::new();
        let mut tree = Fenwick::default();
        let check = |tree: &Fenwick, weights: &[u64]| {
            let total: u64 = weights.iter().sum();
            assert_eq!(tree.total(), total);
            let mut expected = weights.iter().enumerate().flat_map(|(index, &n)| (0..n).map(move |_| index));
            for at in 0..total {
                assert_eq!(Some(tree.find(at)), expected.next(), "{at} in {weights:?}");
            }
        };
        for n in 0..40_u64 {
            weights.push(n * 7 % 5);
            tree.push(n * 7 % 5);
            check(&tree, &weights);
        }
        for n in 0..40_usize {
            let after = n as u64 * 3 % 4;
            tree.change(n, weights[n], after);
            weights[n] = after;
            check(&tree, &weights);
        }
    }
}
